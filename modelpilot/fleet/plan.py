"""What to start and what to stop, as a pure function of what is wished and what is there.

No clock, no database, no processes: `fleet.node` gathers the facts and carries out the
actions that concern its own machine. All nodes reach the same plan from the same facts.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class NodeFacts:
    name: str
    memory_mb: int


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """`wanted` is false for a stopped one; `waiting` counts its queued jobs."""

    id: str
    memory_mb: int
    wanted: bool
    waiting: int
    idle_seconds: int
    pinned: bool
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PodFacts:
    id: uuid.UUID
    deployment: str
    node: str
    memory_mb: int
    busy: int
    draining: bool
    # Still loading: it has not had the chance to be of use.
    loading: bool
    active_at: datetime


@dataclass(frozen=True, slots=True)
class Start:
    deployment: str
    node: str


@dataclass(frozen=True, slots=True)
class Stop:
    pod: uuid.UUID
    reason: str


Action = Start | Stop


def plan(
    nodes: list[NodeFacts],
    deployments: list[DeploymentFacts],
    pods: list[PodFacts],
    now: datetime,
) -> list[Action]:
    """The next actions: never over a node's memory, never stopping a busy or pinned pod
    to make room, least recently used first."""
    wishes = {deployment.id: deployment for deployment in deployments}
    stops = [stop for pod in pods if (stop := reason_to_stop(pod, wishes, now))]
    stopping = {stop.pod for stop in stops} | {pod.id for pod in pods if pod.draining}
    actions: list[Action] = list(stops)
    # What a draining pod holds is not free before it has gone.
    free = {node.name: node.memory_mb for node in nodes}
    for pod in pods:
        if pod.node in free:
            free[pod.node] -= pod.memory_mb
    served = {pod.deployment for pod in pods if pod.id not in stopping}
    for deployment in sorted(deployments, key=lambda deployment: deployment.id):
        if deployment.id in served or not needs_pod(deployment, now):
            continue
        node = max(free, key=lambda name: (free[name], name), default=None)
        if node is not None and free[node] >= deployment.memory_mb:
            free[node] -= deployment.memory_mb
            actions.append(Start(deployment.id, node))
        else:
            actions += make_room(deployment, nodes, pods, wishes, stopping, free)
    return actions


def reason_to_stop(pod: PodFacts, wishes: dict[str, DeploymentFacts], now: datetime) -> Stop | None:
    deployment = wishes.get(pod.deployment)
    if pod.draining:
        return None
    if deployment is None or not deployment.wanted:
        return Stop(pod.id, "its deployment is stopped")
    if pod.busy or pod.loading or deployment.pinned or deployment.waiting:
        return None
    if now - pod.active_at > timedelta(seconds=deployment.idle_seconds):
        return Stop(pod.id, f"idle for {deployment.idle_seconds} s")
    return None


def needs_pod(deployment: DeploymentFacts, now: datetime) -> bool:
    waits_for_retry = deployment.retry_at is not None and deployment.retry_at > now
    return (
        deployment.wanted and not waits_for_retry and (deployment.waiting > 0 or deployment.pinned)
    )


def make_room(
    deployment: DeploymentFacts,
    nodes: list[NodeFacts],
    pods: list[PodFacts],
    wishes: dict[str, DeploymentFacts],
    stopping: set[uuid.UUID],
    free: dict[str, int],
) -> list[Action]:
    """Stop idle pods on one node, oldest use first, until the deployment will fit there.

    Pods that already stop count as room to come; the start follows in a later plan.
    """
    for node in sorted(nodes, key=lambda node: node.name):
        here = [pod for pod in pods if pod.node == node.name]
        room = free[node.name] + sum(pod.memory_mb for pod in here if pod.id in stopping)
        evictions: list[Action] = []
        for pod in sorted(here, key=lambda pod: pod.active_at):
            if room >= deployment.memory_mb:
                break
            if evictable(pod, wishes, stopping):
                room += pod.memory_mb
                evictions.append(Stop(pod.id, f"room for {deployment.id}"))
        if room >= deployment.memory_mb:
            stopping |= {stop.pod for stop in evictions if isinstance(stop, Stop)}
            return evictions
    return []


def evictable(pod: PodFacts, wishes: dict[str, DeploymentFacts], stopping: set[uuid.UUID]) -> bool:
    deployment = wishes.get(pod.deployment)
    pinned = deployment is not None and deployment.pinned
    waited_for = deployment is not None and deployment.waiting > 0
    return not (pod.id in stopping or pod.busy or pod.loading or pinned or waited_for)
