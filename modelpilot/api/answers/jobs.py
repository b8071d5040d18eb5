"""Jobs, and what the original's routes answer."""

from typing import Any, Literal

from inference.types import Kind
from modelpilot.api.answers.shapes import ErrorDetail, Shape
from modelpilot.jobs.models import Job as Row


class Output(Shape):
    url: str
    media_type: str
    bytes: int


class Job(Shape):
    """Times in Unix seconds, `cost` in USD; `estimated_time_ms` is there until the job ends."""

    id: str
    object: Literal["job"]
    kind: Kind
    model: str
    state: Row.State
    phase: str
    queue_position: int | None
    progress: float
    attempt: int
    created_at: int
    started_at: int | None
    finished_at: int | None
    cost: float
    outputs: list[Output]
    result: dict[str, Any] | None
    warnings: list[str]
    error: ErrorDetail | None
    request: dict[str, Any]
    estimated_time_ms: int = 0


class Accepted(Shape):
    """A job that is not done yet: look at `poll_url` until it is."""

    id: str
    model: str
    status: Literal["processing"]
    job_id: str
    endpoint_id: str
    poll_url: str
    message: str
    phase: str
    queue_position: int | None
    estimated_time_ms: int
    cost: float


class Pending(Shape):
    id: str
    model: str
    status: str
    state: Row.State
    phase: str
    queue_position: int | None
    progress: float
    estimated_time_ms: int


class Failed(Shape):
    """A job that failed or was cancelled."""

    id: str
    model: str
    status: str
    state: Row.State
    cost: float
    error: ErrorDetail


class Made(Shape):
    """`status` and `state` are of a poll."""

    id: str
    model: str
    cost: float
    execution_time_ms: int
    warnings: list[str]
    status: str = "completed"
    state: Row.State = Row.State.SUCCEEDED


class Picture(Shape):
    filename: str
    url: str
    seed: int
    width: int
    height: int
    base64: str = ""


class GeneratedImages(Made):
    images: list[Picture]


class GeneratedAudio(Made):
    """`audio` is a WAV file in base64."""

    audio: str
    format: Literal["wav"]
    sample_rate: int


class Film(Shape):
    url: str
    poster_url: str
    seed: int
    width: int
    height: int
    num_frames: int
    fps: float
    duration_s: float


class GeneratedVideos(Made):
    videos: list[Film]
