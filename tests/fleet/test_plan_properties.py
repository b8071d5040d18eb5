"""What the plan may never do, and what it must always come to, on any fleet."""

import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from modelpilot.fleet.pieces import (
    Action,
    DeploymentFacts,
    DeviceFacts,
    Place,
    PodFacts,
    Start,
    Stop,
)
from modelpilot.fleet.plan import plan, starts_in
from modelpilot.fleet.turns import swap_seconds

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ["a", "b", "c", "d", "e"]

memory = st.integers(1, 10)
# Mostly GPUs, of which some deployments want several.
kinds = st.sampled_from(["cpu", "cuda", "cuda"])
counts = st.sampled_from([1, 1, 2, 3])
wholes = st.sampled_from([True, True, False])
devices = st.lists(st.tuples(st.integers(0, 1), kinds, memory, wholes), min_size=1, max_size=5).map(
    lambda found: [
        DeviceFacts(f"node{node}", f"{kind}{number}", kind, size, whole)
        for number, (node, kind, size, whole) in enumerate(found)
    ]
)


@st.composite
def deployment(draw: st.DrawFn, name: str) -> DeploymentFacts:
    return DeploymentFacts(
        id=name,
        device=draw(kinds),
        devices=draw(counts),
        memory_mb=draw(memory),
        wanted=draw(st.booleans()),
        waiting=draw(st.integers(0, 3)),
        waited_s=draw(st.sampled_from([0, 5, 50, 500])),
        idle_seconds=draw(st.sampled_from([0, 60])),
        pinned=draw(st.booleans()),
        replicas=draw(st.integers(1, 3)),
        load_seconds=draw(st.sampled_from([0, 2, 20, 200])),
        run_seconds=draw(st.sampled_from([0, 1, 100])),
        retry_at=draw(st.sampled_from([None, NOW + timedelta(minutes=1)])),
    )


deployments = st.lists(st.sampled_from(NAMES), unique=True).flatmap(
    lambda names: st.tuples(*(deployment(name) for name in names)).map(list)
)
Fleet = tuple[list[DeviceFacts], list[DeploymentFacts], list[PodFacts]]


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """Devices, wishes, and pods that fit there; some may be of a forgotten deployment, or sit on
    more or fewer devices than a new one would."""
    places = draw(devices)
    wishes = draw(deployments)
    sizes = {wish.id: wish.memory_mb for wish in wishes} | {"forgotten": 1}
    kind_of = {wish.id: wish.device for wish in wishes}
    free = {device.place: device.memory_mb for device in places}
    pods: list[PodFacts] = []
    for name in draw(st.lists(st.sampled_from(sorted(sizes)), max_size=8)):
        first = draw(st.sampled_from(places))
        able = [
            device
            for device in places
            if (device.node, device.kind) == (first.node, kind_of.get(name, device.kind))
            and free[device.place] >= sizes[name]
        ]
        chosen = able[: draw(counts)]
        if not chosen:
            continue
        for device in chosen:
            free[device.place] -= sizes[name]
        loading = draw(st.booleans())
        age = timedelta(seconds=draw(st.integers(0, 120)))
        pods.append(
            PodFacts(
                id=uuid.uuid4(),
                deployment=name,
                node=first.node,
                devices=tuple(device.id for device in chosen),
                memory_mb=sizes[name],
                busy=0 if loading else draw(st.integers(0, 2)),
                slots=0 if loading else 2,
                draining=draw(st.booleans()),
                active_at=NOW - age,
                ready_at=None if loading else NOW - age,
            )
        )
    return places, wishes, pods


def taken_by(pods: Iterable[PodFacts]) -> Counter[Place]:
    """MB that these pods take of each device."""
    used: Counter[Place] = Counter()
    for pod in pods:
        for place in pod.places:
            used[place] += pod.memory_mb
    return used


@settings(max_examples=200)
@given(fleets())
def test_no_device_is_ever_over_its_memory(fleet: Fleet) -> None:
    places, wishes, pods = fleet
    by_id = {wish.id: wish for wish in wishes}
    found = {device.place: device for device in places}
    used = taken_by(pods)
    for action in plan(places, wishes, pods, NOW):
        if isinstance(action, Start):
            wish = by_id[action.deployment]
            assert len(set(action.devices)) == len(action.devices) == wish.devices
            for device in action.devices:
                place = found[(action.node, device)]
                assert place.kind == wish.device
                assert place.whole or wish.devices == 1
                used[place.place] += wish.memory_mb
    # What is being stopped still holds its memory, so it does not count as free.
    assert all(used[device.place] <= device.memory_mb for device in places)


@settings(max_examples=200)
@given(fleets())
def test_a_busy_pod_goes_only_after_its_tenure_and_for_one_that_has_waited(fleet: Fleet) -> None:
    places, wishes, pods = fleet
    wanted = {wish.id: wish for wish in wishes if wish.wanted}
    copies = Counter(pod.deployment for pod in pods if not pod.draining)
    by_id = {pod.id: pod for pod in pods}
    for action in plan(places, wishes, pods, NOW):
        if not isinstance(action, Stop):
            continue
        pod = by_id[action.pod]
        assert not pod.draining, "it is told once"
        if pod.deployment not in wanted:
            continue
        assert not pod.loading
        mine = wanted[pod.deployment]
        if "room for" not in action.reason:
            assert not pod.busy or copies[pod.deployment] > mine.replicas
        elif pod.busy or mine.waiting:
            assert pod.ready_at is not None
            tenure = swap_seconds(mine.load_seconds)
            assert NOW - pod.ready_at >= timedelta(seconds=tenure)
            other = wanted[action.reason.removeprefix("room for ")]
            patience = swap_seconds(mine.load_seconds + other.load_seconds)
            assert other.waited_s >= patience or (other.pinned and not other.waiting)


@settings(max_examples=200)
@given(fleets())
def test_a_pinned_deployment_keeps_its_last_pod(fleet: Fleet) -> None:
    places, wishes, pods = fleet
    before = Counter(pod.deployment for pod in pods if not pod.draining)
    by_id = {pod.id: pod for pod in pods}
    stopped = Counter(
        by_id[action.pod].deployment
        for action in plan(places, wishes, pods, NOW)
        if isinstance(action, Stop)
    )
    for wish in wishes:
        if wish.wanted and wish.pinned and before[wish.id]:
            assert before[wish.id] - stopped[wish.id] >= 1


@settings(max_examples=200)
@given(fleets())
def test_no_pod_and_no_deployment_is_named_twice(fleet: Fleet) -> None:
    actions = plan(*fleet, NOW)
    stops = [action.pod for action in actions if isinstance(action, Stop)]
    starts = [action.deployment for action in actions if isinstance(action, Start)]
    assert len(stops) == len(set(stops))
    assert len(starts) == len(set(starts))


@settings(max_examples=150)
@given(fleets())
def test_there_are_never_more_than_the_replicas(fleet: Fleet) -> None:
    places, wishes, pods = fleet
    copies = Counter(pod.deployment for pod in pods if not pod.draining)
    for action in plan(places, wishes, pods, NOW):
        if isinstance(action, Start):
            limit = next(wish.replicas for wish in wishes if wish.id == action.deployment)
            assert copies[action.deployment] < limit


@settings(max_examples=150)
@given(fleets())
def test_what_starts_now_is_foretold_so(fleet: Fleet) -> None:
    places, wishes, pods = fleet
    waiting = [wish for wish in wishes if wish.waiting or wish.pinned]
    for wish in waiting:
        alone = [other if other is wish else replace(other, waiting=0) for other in wishes]
        guess = starts_in(places, alone, pods, NOW, wish.id)
        assert guess is None or guess[0] >= 0
    for action in plan(places, waiting[:1], [], NOW):
        assert isinstance(action, Start)
        assert starts_in(places, waiting[:1], [], NOW, action.deployment) == (0, False)


@settings(max_examples=150)
@given(fleets())
def test_it_comes_to_rest_and_whoever_can_run_runs(fleet: Fleet) -> None:
    """Carried out round after round, nothing flaps, and no wish that fits is left waiting."""
    places, wishes, pods = fleet
    # Nobody works any more, and the failed loads may be tried again.
    wishes = [replace(wish, retry_at=None) for wish in wishes]
    pods = [replace(pod, busy=0, ready_at=NOW, active_at=NOW) for pod in pods]
    for _ in range(20):
        actions = plan(places, wishes, pods, NOW)
        if not actions and not any(pod.draining for pod in pods):
            break
        pods = carried_out(actions, wishes, pods)
    else:
        raise AssertionError("it never comes to rest")

    running = {pod.deployment for pod in pods}
    movable = {wish.id for wish in wishes if wish.wanted and not (wish.pinned or wish.waiting)}
    for wish in wishes:
        if wish.wanted and (wish.waiting or wish.pinned) and wish.id not in running:
            stays = taken_by(pod for pod in pods if pod.deployment not in movable)
            able = Counter(
                device.node
                for device in places
                if device.kind == wish.device
                and (device.whole or wish.devices == 1)
                and stays[device.place] + wish.memory_mb <= device.memory_mb
            )
            assert all(count < wish.devices for count in able.values())


def carried_out(
    actions: list[Action], wishes: list[DeploymentFacts], pods: list[PodFacts]
) -> list[PodFacts]:
    """What draining pods hold is free a round later; a started pod is ready at once."""
    sizes = {wish.id: wish.memory_mb for wish in wishes}
    stops = {action.pod for action in actions if isinstance(action, Stop)}
    left = [replace(pod, draining=pod.id in stops) for pod in pods if not pod.draining]
    started = [
        PodFacts(
            id=uuid.uuid4(),
            deployment=action.deployment,
            node=action.node,
            devices=action.devices,
            memory_mb=sizes[action.deployment],
            busy=0,
            slots=2,
            draining=False,
            active_at=NOW,
            ready_at=NOW,
        )
        for action in actions
        if isinstance(action, Start)
    ]
    return left + started


# Time: everybody is always busy, and nothing but the plan makes anybody move.

MINUTES = 6


@st.composite
def rushes(draw: st.DrawFn) -> tuple[list[DeviceFacts], list[DeploymentFacts]]:
    sizes = sorted(draw(st.lists(memory, min_size=1, max_size=3)))
    places = [DeviceFacts("node", str(number), "cpu", size) for number, size in enumerate(sizes)]
    spans = {name: draw(st.integers(1, min(2, len(sizes)))) for name in NAMES}
    wishes = [
        DeploymentFacts(
            id=name,
            devices=spans[name],
            memory_mb=draw(st.integers(1, sizes[-spans[name]])),
            wanted=True,
            waiting=9,
            idle_seconds=60,
            pinned=draw(st.integers(0, 5)) == 0,
            replicas=draw(st.integers(1, 2)),
            load_seconds=draw(st.integers(0, 5)),
            run_seconds=draw(st.integers(1, 8)),
        )
        for name in draw(st.lists(st.sampled_from(NAMES[:4]), min_size=1, unique=True))
    ]
    return places, wishes


class Rush:
    """Seconds of a fleet whose queues are never empty: a pod that may claim is busy."""

    def __init__(self, places: list[DeviceFacts], wishes: list[DeploymentFacts]) -> None:
        self.places, self.wishes = places, {wish.id: wish for wish in wishes}
        self.pods: dict[uuid.UUID, PodFacts] = {}
        # What a pod does ends then: its load, or the run that it is in.
        self.until: dict[uuid.UUID, datetime] = {}
        self.left_at = dict.fromkeys(self.wishes, NOW)
        self.runs: Counter[str] = Counter()
        self.starts: list[tuple[datetime, str]] = []

    def second(self, now: datetime) -> None:
        for pod in list(self.pods.values()):
            self.advance(pod, now)
        wishes = [
            replace(wish, waited_s=(now - self.left_at[wish.id]).total_seconds())
            for wish in self.wishes.values()
        ]
        for action in plan(self.places, wishes, list(self.pods.values()), now):
            if isinstance(action, Stop):
                self.stop(self.pods[action.pod], now)
            else:
                self.start(action, now)
        used = taken_by(self.pods.values())
        assert all(used[device.place] <= device.memory_mb for device in self.places)

    def advance(self, pod: PodFacts, now: datetime) -> None:
        wish = self.wishes[pod.deployment]
        if self.until[pod.id] > now:
            return
        if pod.busy:
            self.runs[wish.id] += 1
        if pod.draining:
            del self.pods[pod.id]
            return
        self.until[pod.id] = now + timedelta(seconds=wish.run_seconds)
        ready_at = pod.ready_at or now
        self.pods[pod.id] = replace(pod, busy=1, slots=1, active_at=now, ready_at=ready_at)

    def stop(self, pod: PodFacts, now: datetime) -> None:
        assert not self.wishes[pod.deployment].pinned or self.copies(pod.deployment) > 1
        assert pod.ready_at is not None
        tenure = swap_seconds(self.wishes[pod.deployment].load_seconds)
        assert now - pod.ready_at >= timedelta(seconds=tenure)
        self.left_at[pod.deployment] = now
        self.pods[pod.id] = replace(pod, draining=True)

    def copies(self, deployment: str) -> int:
        return sum(pod.deployment == deployment and not pod.draining for pod in self.pods.values())

    def start(self, action: Start, now: datetime) -> None:
        wish = self.wishes[action.deployment]
        pod = PodFacts(
            id=uuid.uuid4(),
            deployment=wish.id,
            node=action.node,
            devices=action.devices,
            memory_mb=wish.memory_mb,
            busy=0,
            slots=0,
            draining=False,
            active_at=now,
            ready_at=None,
        )
        self.pods[pod.id] = pod
        self.until[pod.id] = now + timedelta(seconds=wish.load_seconds)
        self.starts.append((now, wish.id))


@settings(max_examples=150, deadline=None)
@given(rushes())
def test_everybody_who_fits_is_served_and_swaps_are_rare(
    rush: tuple[list[DeviceFacts], list[DeploymentFacts]],
) -> None:
    places, wishes = rush
    fleet = Rush(places, wishes)
    for second in range(60 * MINUTES):
        fleet.second(NOW + timedelta(seconds=second))

    # Whoever started served for ten seconds at least, so of each deployment and replica:
    for wish in wishes:
        starts = [at for at, name in fleet.starts if name == wish.id]
        for at in starts:
            within = [other for other in starts if at <= other < at + timedelta(minutes=1)]
            assert len(within) <= 6 * wish.replicas + 1

    pinned = sum(wish.memory_mb for wish in wishes if wish.pinned)
    for wish in wishes:
        beside = pinned if not wish.pinned else pinned - wish.memory_mb
        if not pinned or (len(places) == 1 and beside + wish.memory_mb <= places[0].memory_mb):
            assert fleet.runs[wish.id] > 0, (wish.id, fleet.starts)
