"""What the plan may never do, and what it must always come to, on any fleet."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from modelpilot.fleet.plan import DeploymentFacts, NodeFacts, PodFacts, Start, Stop, plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ["a", "b", "c", "d", "e"]

memory = st.integers(1, 10)
nodes = st.lists(memory, min_size=1, max_size=3).map(
    lambda sizes: [NodeFacts(f"node{number}", size) for number, size in enumerate(sizes)]
)


@st.composite
def deployment(draw: st.DrawFn, name: str) -> DeploymentFacts:
    return DeploymentFacts(
        id=name,
        memory_mb=draw(memory),
        wanted=draw(st.booleans()),
        waiting=draw(st.integers(0, 3)),
        idle_seconds=draw(st.sampled_from([0, 60])),
        pinned=draw(st.booleans()),
        retry_at=draw(st.sampled_from([None, NOW + timedelta(minutes=1)])),
    )


deployments = st.lists(st.sampled_from(NAMES), unique=True).flatmap(
    lambda names: st.tuples(*(deployment(name) for name in names)).map(list)
)


@st.composite
def fleets(
    draw: st.DrawFn,
) -> tuple[list[NodeFacts], list[DeploymentFacts], list[PodFacts]]:
    """Nodes, wishes, and pods that fit on the nodes; one may be of a forgotten deployment."""
    machines = draw(nodes)
    wishes = draw(deployments)
    sizes = {wish.id: wish.memory_mb for wish in wishes} | {"forgotten": 1}
    pods: list[PodFacts] = []
    for machine in machines:
        free = machine.memory_mb
        for name in draw(st.lists(st.sampled_from(sorted(sizes)), max_size=4)):
            if sizes[name] > free:
                continue
            free -= sizes[name]
            pods.append(
                PodFacts(
                    id=uuid.uuid4(),
                    deployment=name,
                    node=machine.name,
                    memory_mb=sizes[name],
                    busy=draw(st.integers(0, 2)),
                    draining=draw(st.booleans()),
                    loading=draw(st.booleans()),
                    active_at=NOW - timedelta(seconds=draw(st.integers(0, 120))),
                )
            )
    return machines, wishes, pods


Fleet = tuple[list[NodeFacts], list[DeploymentFacts], list[PodFacts]]


@settings(max_examples=500)
@given(fleets())
def test_no_node_is_ever_over_its_memory(fleet: Fleet) -> None:
    machines, wishes, pods = fleet
    sizes = {wish.id: wish.memory_mb for wish in wishes}
    used = {machine.name: 0 for machine in machines}
    for pod in pods:
        used[pod.node] += pod.memory_mb
    for action in plan(machines, wishes, pods, NOW):
        if isinstance(action, Start):
            used[action.node] += sizes[action.deployment]
    # What is being stopped still holds its memory, so it does not count as free.
    assert all(used[machine.name] <= machine.memory_mb for machine in machines)


@settings(max_examples=500)
@given(fleets())
def test_a_busy_loading_or_pinned_pod_of_a_wanted_deployment_is_never_stopped(
    fleet: Fleet,
) -> None:
    machines, wishes, pods = fleet
    wanted = {wish.id: wish for wish in wishes if wish.wanted}
    by_id = {pod.id: pod for pod in pods}
    for action in plan(machines, wishes, pods, NOW):
        if isinstance(action, Stop):
            pod = by_id[action.pod]
            assert not pod.draining, "it is told once"
            if pod.deployment in wanted:
                assert not (pod.busy)
                assert not (pod.loading)
                assert not wanted[pod.deployment].pinned


@settings(max_examples=500)
@given(fleets())
def test_no_pod_and_no_deployment_is_named_twice(fleet: Fleet) -> None:
    actions = plan(*fleet, NOW)
    stops = [action.pod for action in actions if isinstance(action, Stop)]
    starts = [action.deployment for action in actions if isinstance(action, Start)]
    assert len(stops) == len(set(stops))
    assert len(starts) == len(set(starts))


@settings(max_examples=300)
@given(fleets())
def test_it_comes_to_rest_and_whoever_can_run_runs(fleet: Fleet) -> None:
    """Carried out round after round, nothing flaps, and no wish that fits is left waiting."""
    machines, wishes, pods = fleet
    # Nobody works any more, and the failed loads may be tried again.
    wishes = [replace(wish, retry_at=None) for wish in wishes]
    pods = [replace(pod, busy=0, loading=False, active_at=NOW) for pod in pods]
    for _ in range(20):
        actions = plan(machines, wishes, pods, NOW)
        if not actions and not any(pod.draining for pod in pods):
            break
        pods = carried_out(actions, wishes, pods)
    else:
        raise AssertionError("it never comes to rest")

    running = {pod.deployment for pod in pods}
    movable = {wish.id for wish in wishes if wish.wanted and not (wish.pinned or wish.waiting)}
    for wish in wishes:
        if wish.wanted and (wish.waiting or wish.pinned) and wish.id not in running:
            for machine in machines:
                here = [pod for pod in pods if pod.node == machine.name]
                stays = sum(pod.memory_mb for pod in here if pod.deployment not in movable)
                assert stays + wish.memory_mb > machine.memory_mb


def carried_out(
    actions: list[Start | Stop], wishes: list[DeploymentFacts], pods: list[PodFacts]
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
            memory_mb=sizes[action.deployment],
            busy=0,
            draining=False,
            loading=False,
            active_at=NOW,
        )
        for action in actions
        if isinstance(action, Start)
    ]
    return left + started
