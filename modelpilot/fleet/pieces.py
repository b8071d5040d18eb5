"""What the plan knows of devices, deployments and pods, and the moves that it can make."""

import uuid
from dataclasses import dataclass
from datetime import datetime

# A device of a machine: the node's name and the device's id.
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """One pool of memory: a machine's CPU ("cpu") or one of its GPUs ("cuda", by UUID).

    One that is not `whole`, a part of a GPU, can't work together with others.
    """

    node: str
    id: str
    kind: str
    memory_mb: int
    whole: bool = True

    @property
    def place(self) -> Place:
        return self.node, self.id


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """`wanted` is false for a stopped one; `waiting` counts its queued jobs; without a pod it
    has waited for `waited_s`. `replicas` is the most pods it may have, of `slots` each. Each
    sits on `devices` of the kind `device`, all of one node, and takes `memory_mb` of each.
    `engine` is the one that was picked, with what it needs."""

    id: str
    memory_mb: int
    wanted: bool
    waiting: int
    idle_seconds: int
    pinned: bool
    device: str = "cpu"
    devices: int = 1
    engine: str = ""
    replicas: int = 1
    slots: int = 1
    waited_s: float = 0.0
    load_seconds: float = 0.0
    run_seconds: float = 0.0
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PodFacts:
    """It takes `memory_mb` of each of its `devices`. `busy` of its `slots` are taken; it has
    served since `ready_at` (None: it still loads)."""

    id: uuid.UUID
    deployment: str
    node: str
    devices: tuple[str, ...]
    memory_mb: int
    busy: int
    slots: int
    draining: bool
    active_at: datetime
    ready_at: datetime | None

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple((self.node, device) for device in self.devices)

    @property
    def loading(self) -> bool:
        return self.ready_at is None and not self.draining


@dataclass(frozen=True, slots=True)
class Start:
    """One pod, on all of these devices of the node."""

    deployment: str
    node: str
    devices: tuple[str, ...]
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain it: it takes no more jobs, finishes those it has, and goes."""

    pod: uuid.UUID
    reason: str


Action = Start | Stop
