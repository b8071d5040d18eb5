"""Deployments, their pods and devices, and how they are. Memory in MB, times in seconds."""

from typing import Literal

from modelpilot.api.answers.shapes import Shape


class Pod(Shape):
    id: str
    node: str
    devices: list[str]
    engine: str
    phase: str
    progress: float | None
    memory_mb: int
    busy: int
    slots: int
    uptime_seconds: float


class Queue(Shape):
    queued: int
    running: int
    oldest_seconds: float


class Deployment(Shape):
    id: str
    object: Literal["deployment"]
    model: str
    engine: str
    engine_reason: str
    devices: int
    status: Literal["running", "stopped"]
    phase: str | None
    progress: float | None
    pinned: bool
    replicas: int
    idle_seconds: int | None
    pods: list[Pod]
    queue: Queue
    load_seconds: float | None
    run_seconds: float | None
    run_p50_seconds: float | None
    run_p90_seconds: float | None
    estimated_time_ms: int | None
    error: str | None


class Device(Shape):
    object: Literal["device"]
    id: str
    node: str
    kind: str
    name: str
    total_mb: int
    memory_mb: int
    used_mb: int
    free_mb: int
    pods: list[str]


class Health(Shape):
    status: Literal["healthy", "degraded", "unhealthy", "stopped"]
    services: dict[str, str]
    deployment_status: Literal["running", "stopped"]
    model: str
    waiting: int
    error: str | None
    timestamp: str
    response_time_ms: int
    last_checked: str
