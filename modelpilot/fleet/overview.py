"""The fleet as an operator wants to see it: deployments with pods and queues, and devices.

What is read does not grow with the history: pods and nodes are few, live jobs are found by
partial indexes, and runs are measured from the latest hundred.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import quantiles
from uuid import UUID

from django.conf import settings

from inference.picking import Choice, Picked
from modelpilot.fleet import eta, facts, machine
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.facts import Facts
from modelpilot.fleet.machine import Device
from modelpilot.fleet.models import Deployment, Node, Pod

PHASES = [Pod.Phase.READY, Pod.Phase.LOADING, Pod.Phase.DOWNLOADING, Pod.Phase.STARTING]


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod; `memory_mb` is what it takes of each of its devices, `busy` are the jobs that it
    runs."""

    id: UUID
    node: str
    devices: list[str]
    engine: str
    phase: str
    progress: float | None
    memory_mb: int
    busy: int
    slots: int
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """`phase` is that of its most advanced pod that stays, "cold" without one; `wait_s` is how
    long a job that comes now will take until its end, None where nobody can tell. `engine` is the
    one that a pod would have now, on so many `devices`; `chosen` is what the operator wants of
    them."""

    id: str
    model: str
    engine: str
    engine_reason: str
    devices: int
    chosen: Choice
    running: bool
    phase: str
    progress: float | None
    pinned: bool
    replicas: int
    idle_seconds: int
    pods: list[PodView]
    queued: int
    waited_s: float
    load_seconds: float | None
    run_seconds: float | None
    run_p50: float | None
    run_p90: float | None
    wait_s: float | None
    error: str


@dataclass(frozen=True, slots=True)
class DeviceView:
    """`memory_mb` is what pods may use together, `used_mb` what they take, `free_mb` what nobody
    uses on the machine now."""

    id: str
    node: str
    kind: str
    name: str
    total_mb: int
    memory_mb: int
    used_mb: int
    free_mb: int
    pods: list[UUID]


def all_deployments() -> list[DeploymentView]:
    found = list(Deployment.objects.order_by("model"))
    return views(found, facts.gather()) if found else []


def one(deployment: Deployment) -> DeploymentView:
    return views([deployment], facts.gather())[0]


def views(deployments: Sequence[Deployment], now: Facts) -> list[DeploymentView]:
    running = {pod.id: pod.busy for pod in now.pods}
    return [
        view(
            deployment,
            now,
            now.queues.get(deployment.model, facts.Queue()),
            [
                pod_view(row, running.get(row.id, 0), now.now)
                for row in now.rows
                if row.deployment_id == deployment.id
            ],
        )
        for deployment in deployments
    ]


def view(
    deployment: Deployment, now: Facts, queue: facts.Queue, pods: list[PodView]
) -> DeploymentView:
    leading = min(
        (pod for pod in pods if pod.phase in PHASES),
        key=lambda pod: PHASES.index(Pod.Phase(pod.phase)),
        default=None,
    )
    p50, p90 = spread(deployment.recent_runs)
    ahead = eta.outlook(deployment.id, now)
    idle = deployment.idle_seconds
    picked = picked_of(deployment, now)
    return DeploymentView(
        id=deployment.id,
        model=deployment.model,
        engine=picked.card.engine if picked else "",
        engine_reason=(picked.obstacle or picked.why) if picked else "its card is gone",
        devices=picked.card.devices if picked else 1,
        chosen=deployment.choice,
        running=deployment.desired == Deployment.Desired.RUNNING,
        phase=leading.phase if leading else "cold",
        progress=leading.progress if leading else None,
        pinned=deployment.pinned,
        replicas=deployment.replicas,
        idle_seconds=settings.IDLE_SECONDS if idle is None else idle,
        pods=pods,
        queued=queue.waiting,
        waited_s=queue.waited_s,
        load_seconds=deployment.load_seconds,
        run_seconds=deployment.run_seconds,
        run_p50=p50,
        run_p90=p90,
        wait_s=ahead.seconds(queue.waiting + 1) if ahead else None,
        error=deployment.error,
    )


def picked_of(deployment: Deployment, now: Facts) -> Picked | None:
    """How a pod of it would run now, and why; None without its card."""
    card = cards().cards.get(deployment.model)
    if card is None:
        return None
    machines = [facts.devices_found(node) for node in now.nodes]
    return machine.pick(card, machines, deployment.choice)


def pod_view(row: Pod, busy: int, now: datetime) -> PodView:
    return PodView(
        id=row.id,
        node=row.node_id,
        devices=row.devices,
        engine=row.engine,
        phase=row.phase,
        progress=row.progress,
        memory_mb=facts.held_mb(row),
        busy=busy,
        slots=row.slots,
        uptime_seconds=max(0.0, (now - row.created_at).total_seconds()),
    )


def spread(runs: list[float]) -> tuple[float | None, float | None]:
    """Median and 90th percentile, in seconds; None without a run."""
    if not runs:
        return None, None
    if len(runs) == 1:
        return runs[0], runs[0]
    tenths = quantiles(runs, n=10, method="inclusive")
    return tenths[4], tenths[8]


def all_devices() -> list[DeviceView]:
    """Those of nodes that are alive."""
    return devices(facts.alive_nodes(), list(Pod.objects.order_by("created_at")))


def devices(nodes: Sequence[Node], pods: Sequence[Pod]) -> list[DeviceView]:
    return [
        device_view(node.name, device, pods)
        for node in nodes
        for device in facts.devices_found(node)
    ]


def device_view(node: str, device: Device, pods: Sequence[Pod]) -> DeviceView:
    here = [pod for pod in pods if facts.sits(pod, node, device.id)]
    return DeviceView(
        id=device.id,
        node=node,
        kind=device.kind,
        name=device.name,
        total_mb=device.total_mb,
        memory_mb=facts.budget(node, device, pods),
        used_mb=sum(facts.held_mb(pod) for pod in here),
        free_mb=device.free_mb,
        pods=[pod.id for pod in here],
    )
