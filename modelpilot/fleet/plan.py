"""What to start and what to stop, as a pure function of what is wished and what is there.

No clock, no database, no processes: `fleet.node` gathers the facts and carries out the
actions that concern its own machine. All nodes reach the same plan from the same facts.

Memory is counted twice. `free` is what a start may take now. `coming` is what will be free
once all that stops has gone, less what is meant for somebody: whoever waits for a pod to
drain has its room kept, and nobody slips in between.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

# How long a model waits for busy ones before one of them must make way, and how long a pod
# has served at least before that: as many times the loads that the swap costs, within bounds.
# Jobs have ten minutes, so no swap is put off for more than two.
SWAP_FACTOR = 3
SHORTEST_S, LONGEST_S = 10.0, 120.0

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """One pool of memory: a machine's CPU ("cpu") or one of its GPUs ("cuda", by UUID)."""

    node: str
    id: str
    kind: str
    memory_mb: int

    @property
    def place(self) -> Place:
        return self.node, self.id


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """`wanted` is false for a stopped one; `waiting` counts its queued jobs; without a pod it
    has waited for `waited_s`. `replicas` is the most pods it may have, of `slots` each.
    `engine` is the one that was picked, with what it needs."""

    id: str
    memory_mb: int
    wanted: bool
    waiting: int
    idle_seconds: int
    pinned: bool
    device: str = "cpu"
    engine: str = ""
    replicas: int = 1
    slots: int = 1
    waited_s: float = 0.0
    load_seconds: float = 0.0
    run_seconds: float = 0.0
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PodFacts:
    """`busy` of its `slots` are taken; it has served since `ready_at` (None: it still loads)."""

    id: uuid.UUID
    deployment: str
    node: str
    device: str
    memory_mb: int
    busy: int
    slots: int
    draining: bool
    active_at: datetime
    ready_at: datetime | None

    @property
    def place(self) -> Place:
        return self.node, self.device

    @property
    def loading(self) -> bool:
        return self.ready_at is None and not self.draining


@dataclass(frozen=True, slots=True)
class Start:
    deployment: str
    node: str
    device: str
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain it: it takes no more jobs, finishes those it has, and goes."""

    pod: uuid.UUID
    reason: str


Action = Start | Stop


@dataclass(frozen=True, slots=True)
class Room:
    """A device where a deployment fits once `victims` have gone, which may be asked to at `at`.

    `patience_until`: when the deployment has waited long enough for all of them.
    """

    place: Place
    victims: tuple[PodFacts, ...]
    at: datetime
    patience_until: datetime


def plan(
    devices: Sequence[DeviceFacts],
    deployments: Sequence[DeploymentFacts],
    pods: Sequence[PodFacts],
    now: datetime,
) -> list[Action]:
    """The next actions: first copies for whom waits longest, then what room is left for more.

    Never over a device's memory. Idle pods make room at once, least recently used first; busy
    ones only after the waiting model's patience and their own tenure; the last pod of a pinned
    deployment never.
    """
    board = Board(devices, deployments, pods, now)
    actions: list[Action] = list(board.unwanted())
    for deployment in board.without_pod():
        place = board.roomiest(deployment)
        if place is not None:
            actions.append(board.start(deployment, place))
            continue
        room = board.room(deployment, board.may_stop_at)
        if room is None:
            continue
        if room.at <= now:
            actions += board.make_way(deployment, room)
        elif room.patience_until <= now:
            # Only their tenure keeps them: nobody else moves in meanwhile.
            board.keep(deployment, room)
    for deployment in board.worth_another():
        place = board.roomiest(deployment)
        if place is not None:
            actions.append(board.start(deployment, place))
    return actions


def starts_in(
    devices: Sequence[DeviceFacts],
    deployments: Sequence[DeploymentFacts],
    pods: Sequence[PodFacts],
    now: datetime,
    wanted: str,
) -> tuple[float, bool] | None:
    """For how many seconds the first pod of a deployment can't start yet, as far as one can
    tell, and whether others must go for it; None: for as long as pinned ones stay."""
    board = Board(devices, deployments, pods, now)
    for _ in board.unwanted():
        pass
    deployment = board.wishes.get(wanted)
    if deployment is None:
        return None
    retry_s = max(0.0, (deployment.retry_at - now).total_seconds()) if deployment.retry_at else 0.0
    if board.roomiest(deployment) is not None:
        return retry_s, False
    room = board.room(deployment, board.likely_gone_at)
    if room is None:
        return None
    leaving = [pod for pod in pods if pod.place == room.place and pod.id in board.stopping]
    gone = max([room.at, *(board.work_done_at(pod) for pod in leaving)])
    return max(retry_s, (gone - now).total_seconds()), True


class Board:
    """The facts, and what this plan has already decided about them."""

    def __init__(
        self,
        devices: Sequence[DeviceFacts],
        deployments: Sequence[DeploymentFacts],
        pods: Sequence[PodFacts],
        now: datetime,
    ) -> None:
        self.now = now
        self.devices = sorted(devices, key=lambda device: device.place)
        self.wishes = {deployment.id: deployment for deployment in deployments}
        self.pods = sorted(pods, key=lambda pod: (pod.active_at, pod.id))
        self.free = {device.place: device.memory_mb for device in devices}
        self.coming = dict(self.free)
        self.stopping: set[uuid.UUID] = set()
        # Pods that stay, of each deployment, with those that this plan starts.
        self.copies: Counter[str] = Counter()
        for pod in self.pods:
            if pod.place in self.free:
                self.free[pod.place] -= pod.memory_mb
                self.coming[pod.place] -= pod.memory_mb
            if pod.draining:
                self.leave(pod)
            else:
                self.copies[pod.deployment] += 1

    # Stopping

    def leave(self, pod: PodFacts) -> None:
        """What a stopping pod holds is not free before it has gone, but it will be."""
        self.stopping.add(pod.id)
        if pod.place in self.coming:
            self.coming[pod.place] += pod.memory_mb

    def stop(self, pod: PodFacts, reason: str) -> Stop:
        self.leave(pod)
        self.copies[pod.deployment] -= 1
        return Stop(pod.id, reason)

    def unwanted(self) -> Iterable[Stop]:
        """Pods of stopped deployments, pods beyond `replicas`, and those idle for too long."""
        for pod in self.by_use():
            if pod.draining:
                continue
            deployment = self.wishes.get(pod.deployment)
            if deployment is None or not deployment.wanted:
                yield self.stop(pod, "its deployment is stopped")
            elif pod.loading:
                continue
            elif self.copies[pod.deployment] > max(1, deployment.replicas):
                yield self.stop(pod, f"more than {deployment.replicas} of it")
            elif self.idle(pod) and not self.kept(pod) and self.rested(pod, deployment):
                yield self.stop(pod, f"idle for {deployment.idle_seconds} s")

    def rested(self, pod: PodFacts, deployment: DeploymentFacts) -> bool:
        return self.now - pod.active_at > timedelta(seconds=deployment.idle_seconds)

    def by_use(self) -> list[PodFacts]:
        """Idle ones first, then the least recently used."""
        return sorted(self.pods, key=lambda pod: pod.busy > 0)

    def idle(self, pod: PodFacts) -> bool:
        """It has nothing to do, and nothing waits for it."""
        deployment = self.wishes.get(pod.deployment)
        waited_for = deployment is not None and deployment.waiting > 0
        return not (pod.busy or pod.loading or waited_for)

    def kept(self, pod: PodFacts, leaving: Iterable[PodFacts] = ()) -> bool:
        """Whether it is the last of a pinned deployment, once `leaving` have left."""
        deployment = self.wishes.get(pod.deployment)
        going = sum(other.deployment == pod.deployment for other in leaving)
        pinned = deployment is not None and deployment.pinned
        return pinned and self.copies[pod.deployment] - going <= 1

    # Starting

    def without_pod(self) -> list[DeploymentFacts]:
        """Deployments that need their first pod: pinned ones, then by how long they wait."""
        needing = [
            deployment
            for deployment in self.wishes.values()
            if self.may_start(deployment)
            and (deployment.waiting > 0 or deployment.pinned)
            and not self.copies[deployment.id]
        ]
        return sorted(needing, key=lambda wish: (not wish.pinned, -wish.waited_s, wish.id))

    def worth_another(self) -> list[DeploymentFacts]:
        """Deployments whose queue would take longer than one more copy takes to load."""
        return [
            deployment
            for deployment in sorted(self.wishes.values(), key=lambda wish: wish.id)
            if self.may_start(deployment)
            and 0 < self.copies[deployment.id] < deployment.replicas
            and self.queue_seconds(deployment) > deployment.load_seconds
        ]

    def may_start(self, deployment: DeploymentFacts) -> bool:
        return deployment.wanted and not (deployment.retry_at and deployment.retry_at > self.now)

    def queue_seconds(self, deployment: DeploymentFacts) -> float:
        """How long its ready pods will need until its queue is empty; 0 while one loads."""
        mine = [
            pod
            for pod in self.pods
            if pod.deployment == deployment.id and pod.id not in self.stopping
        ]
        slots = sum(pod.slots for pod in mine)
        queued = deployment.waiting - (slots - sum(pod.busy for pod in mine))
        if any(pod.loading for pod in mine) or queued <= 0 or slots <= 0:
            return 0.0
        return queued / slots * deployment.run_seconds

    def roomiest(self, deployment: DeploymentFacts) -> Place | None:
        """The device with the most free memory, where there is enough, best one without a copy.

        The most, not the least that is enough: that spreads work over GPUs, which share
        nothing. What is cut up too much comes together again by eviction.
        """
        mine = {pod.place for pod in self.pods if pod.deployment == deployment.id}
        fitting = [
            device.place
            for device in self.devices
            if device.kind == deployment.device
            and min(self.free[device.place], self.coming[device.place]) >= deployment.memory_mb
        ]
        return max(
            fitting, key=lambda place: (place not in mine, self.free[place], place), default=None
        )

    def start(self, deployment: DeploymentFacts, place: Place) -> Start:
        self.free[place] -= deployment.memory_mb
        self.coming[place] -= deployment.memory_mb
        self.copies[deployment.id] += 1
        return Start(deployment.id, *place, deployment.engine)

    # Making room

    def room(
        self, deployment: DeploymentFacts, when: Callable[[PodFacts, DeploymentFacts], datetime]
    ) -> Room | None:
        """Where it will fit soonest; among those that are equal, whose victims rest longest.

        `when` says when a pod may leave. None: it fits nowhere beside what is pinned.
        """
        rooms = [
            room
            for device in self.devices
            if device.kind == deployment.device and device.memory_mb >= deployment.memory_mb
            if (room := self.room_on(device, deployment, when))
        ]
        return min(rooms, key=self.cost, default=None)

    def cost(self, room: Room) -> tuple[datetime, int, datetime, Place]:
        newest = max((pod.active_at for pod in room.victims), default=room.at)
        return room.at, len(room.victims) and 1, newest, room.place

    def room_on(
        self,
        device: DeviceFacts,
        deployment: DeploymentFacts,
        when: Callable[[PodFacts, DeploymentFacts], datetime],
    ) -> Room | None:
        missing = deployment.memory_mb - self.coming[device.place]
        here = [
            pod for pod in self.pods if pod.place == device.place and pod.id not in self.stopping
        ]
        here.sort(key=lambda pod: (when(pod, deployment), *self.worth(pod)))
        victims: list[PodFacts] = []
        for pod in here:
            if missing <= 0:
                break
            if not self.kept(pod, victims):
                victims.append(pod)
                missing -= pod.memory_mb
        if missing > 0:
            return None
        for pod in reversed(victims[:]):
            if missing + pod.memory_mb <= 0:
                # A larger one that came later makes room enough.
                victims.remove(pod)
                missing += pod.memory_mb
        return Room(
            device.place,
            tuple(victims),
            max([self.now, *(when(pod, deployment) for pod in victims)]),
            max([self.now, *(self.patience_until(pod, deployment) for pod in victims)]),
        )

    def worth(self, pod: PodFacts) -> tuple[bool, bool, datetime]:
        """Idle ones go first, then those that are not the only copy, then by their last use,
        or, since busy ones are all in use, by how long they have served."""
        busy = not self.idle(pod)
        since = (pod.ready_at if busy else None) or pod.active_at
        return busy, self.copies[pod.deployment] <= 1, since

    def may_stop_at(self, pod: PodFacts, deployment: DeploymentFacts) -> datetime:
        """When a pod may be told to make way for a deployment."""
        if self.idle(pod):
            return self.now
        return max(self.patience_until(pod, deployment), self.tenure_until(pod))

    def patience_until(self, pod: PodFacts, deployment: DeploymentFacts) -> datetime:
        """When the deployment has waited long enough for a busy pod to be swapped for it."""
        if self.idle(pod) or (deployment.pinned and not deployment.waiting):
            return self.now
        patience = swap_seconds(deployment.load_seconds + self.load_seconds(pod))
        return self.now + timedelta(seconds=max(0.0, patience - deployment.waited_s))

    def tenure_until(self, pod: PodFacts) -> datetime:
        """Up to when a pod serves undisturbed, counted from its load."""
        load = self.load_seconds(pod)
        since = pod.ready_at or self.now + timedelta(seconds=max(1.0, load))
        return since + timedelta(seconds=swap_seconds(load))

    def load_seconds(self, pod: PodFacts) -> float:
        deployment = self.wishes.get(pod.deployment)
        return deployment.load_seconds if deployment else 0.0

    def make_way(self, deployment: DeploymentFacts, room: Room) -> list[Stop]:
        stops = [self.stop(pod, f"room for {deployment.id}") for pod in room.victims]
        self.coming[room.place] -= deployment.memory_mb
        return stops

    def keep(self, deployment: DeploymentFacts, room: Room) -> None:
        freed = sum(pod.memory_mb for pod in room.victims)
        self.coming[room.place] -= deployment.memory_mb - freed

    # Guessing

    def likely_gone_at(self, pod: PodFacts, deployment: DeploymentFacts) -> datetime:
        """When a pod will have left: it runs out of work, or is made to leave."""
        cordoned = self.may_stop_at(pod, deployment) + timedelta(seconds=self.run_seconds(pod))
        return min(self.work_done_at(pod), cordoned)

    def work_done_at(self, pod: PodFacts) -> datetime:
        """When it has finished what it has, and all that waits for it unless it is stopping."""
        if pod.busy == 0 and (self.idle(pod) or pod.id in self.stopping):
            return self.now
        wish = self.wishes.get(pod.deployment)
        waiting = wish.waiting if wish and pod.id not in self.stopping else 0
        load = self.load_seconds(pod) if pod.loading else 0.0
        # The running ones are half done on average.
        rounds = (pod.busy > 0) / 2 + waiting / max(1, pod.slots)
        if waiting:
            rounds = max(1.0, rounds)
        return self.now + timedelta(seconds=load + rounds * self.run_seconds(pod))

    def run_seconds(self, pod: PodFacts) -> float:
        deployment = self.wishes.get(pod.deployment)
        return deployment.run_seconds if deployment else 0.0


def swap_seconds(load_seconds: float) -> float:
    """How long is long enough, for a swap that costs so much loading."""
    return min(LONGEST_S, max(SHORTEST_S, SWAP_FACTOR * load_seconds))
