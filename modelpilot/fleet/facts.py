"""The fleet as the plan wants to know it, gathered from the tables."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from modelpilot import prepared
from modelpilot.fleet import machine
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.machine import CPU, Device, Machines
from modelpilot.fleet.models import Deployment, Node, Pod
from modelpilot.fleet.pieces import DeploymentFacts, DeviceFacts, PodFacts

# A node or pod that has not been heard of for this long is dead.
SILENCE_S = 30

# The next in line has waited longest, or nearly. Longer queues are not counted: nothing that is
# decided here depends on how much longer they are. Read from the partial index of the queue.
QUEUES = """
SELECT deployment.model, first.waited, (
    SELECT count(*) FROM (SELECT 1 FROM jobs_job
                          WHERE state = 'queued' AND model = deployment.model LIMIT 1000) counted)
FROM fleet_deployment deployment
CROSS JOIN LATERAL (
    SELECT EXTRACT(EPOCH FROM now() - created_at)::float8 AS waited FROM jobs_job
    WHERE state = 'queued' AND model = deployment.model ORDER BY fair_tag, id LIMIT 1) first
"""
# Pods say how busy they are every few seconds; their jobs know it now.
BUSY = "SELECT pod, count(*) FROM jobs_job WHERE state = 'running' GROUP BY pod"


@dataclass(frozen=True, slots=True)
class Queue:
    waiting: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that `plan` is given, at one moment."""

    devices: list[DeviceFacts] = field(default_factory=list)
    deployments: list[DeploymentFacts] = field(default_factory=list)
    pods: list[PodFacts] = field(default_factory=list)
    now: datetime = field(default_factory=timezone.now)
    # What it was made from, for those who show it: no table is read twice.
    nodes: list[Node] = field(default_factory=list)
    rows: list[Pod] = field(default_factory=list)
    queues: dict[str, Queue] = field(default_factory=dict)

    @property
    def args(self) -> tuple[list[DeviceFacts], list[DeploymentFacts], list[PodFacts], datetime]:
        return self.devices, self.deployments, self.pods, self.now


def gather() -> Facts:
    """Asks once for nodes, deployments, queues, pods and running jobs."""
    queues, running = queues_now(), running_now()
    nodes, pods = alive_nodes(), list(Pod.objects.order_by("created_at"))
    machines = [devices_found(node) for node in nodes]
    wishes = [
        wish
        for deployment in Deployment.objects.all()
        if (wish := wish_of(deployment, queues.get(deployment.model, Queue()), machines))
    ]
    return Facts(
        devices_of(nodes, pods),
        wishes,
        [as_fact(pod, running) for pod in pods],
        nodes=nodes,
        rows=pods,
        queues=queues,
    )


def queues_now() -> dict[str, Queue]:
    """What waits, by model; models without queue are left out."""
    return {model: Queue(count, waited) for model, waited, count in prepared.run(QUEUES, {})}


def running_now() -> dict[Any, int]:
    """Jobs that run, by pod."""
    return dict(prepared.run(BUSY, {}))


def alive_nodes() -> list[Node]:
    heard = timezone.now() - timedelta(seconds=SILENCE_S)
    return list(Node.objects.filter(heartbeat_at__gt=heard).order_by("name"))


def devices_found(node: Node) -> list[Device]:
    """The node's devices, as its machine last found them."""
    return [Device(**device) for device in node.devices]


def devices_of(nodes: Iterable[Node], pods: list[Pod]) -> list[DeviceFacts]:
    return [
        DeviceFacts(
            node.name, device.id, device.kind, budget(node.name, device, pods), device.whole
        )
        for node in nodes
        for device in devices_found(node)
    ]


def budget(node: str, device: Device, pods: Iterable[Pod]) -> int:
    """What pods may use of a device together, in MB.

    On a GPU, what other programs hold of it is theirs: that is what is used and not by pods, as
    far as their cards reckon.
    """
    if device.id == CPU:
        return device.memory_mb
    ours = sum(pod.memory_mb for pod in pods if sits(pod, node, device.id))
    others = max(0, device.total_mb - device.free_mb - ours - (device.total_mb - device.memory_mb))
    return max(0, device.memory_mb - others)


def sits(pod: Pod, node: str, device: str) -> bool:
    """Whether that is one of the pod's devices."""
    return pod.node_id == node and device in pod.devices


def wish_of(deployment: Deployment, queue: Queue, machines: Machines) -> DeploymentFacts | None:
    """None: the operator took its card out of the catalog."""
    card = cards().cards.get(deployment.model)
    if card is None:
        return None
    card = machine.pick(card, machines, deployment.choice).card
    load, run, idle = deployment.load_seconds, deployment.run_seconds, deployment.idle_seconds
    return DeploymentFacts(
        id=deployment.id,
        engine=card.engine,
        device=card.device,
        devices=card.devices,
        memory_mb=card.memory_mb,
        wanted=deployment.desired == Deployment.Desired.RUNNING,
        waiting=queue.waiting,
        waited_s=waited_s(deployment, queue),
        idle_seconds=settings.IDLE_SECONDS if idle is None else idle,
        pinned=deployment.pinned,
        replicas=deployment.replicas,
        slots=card.slots,
        load_seconds=card.load_seconds if load is None else load,
        run_seconds=card.run_seconds if run is None else run,
        retry_at=deployment.retry_at,
    )


def waited_s(deployment: Deployment, queue: Queue) -> float:
    """How long it has gone without a pod while jobs waited.

    Not the age of its oldest job: a model that has just made way for another has a long queue
    too, and would have its place back at once.
    """
    if deployment.left_at is None:
        return queue.waited_s
    return min(queue.waited_s, max(0.0, (timezone.now() - deployment.left_at).total_seconds()))


def as_fact(pod: Pod, running: dict[Any, int]) -> PodFacts:
    return PodFacts(
        id=pod.id,
        deployment=pod.deployment_id,
        node=pod.node_id,
        devices=tuple(pod.devices),
        memory_mb=held_mb(pod),
        busy=running.get(pod.id, 0),
        slots=pod.slots,
        draining=pod.phase == Pod.Phase.DRAINING,
        active_at=pod.active_at,
        ready_at=pod.ready_at,
    )


def held_mb(pod: Pod) -> int:
    """What a pod takes of each of its devices: what its card says, or what it has grown to."""
    return max(pod.memory_mb, pod.resident_mb) if CPU in pod.devices else pod.memory_mb
