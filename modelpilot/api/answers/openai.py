"""What the OpenAI-compatible routes answer: OpenAI's shapes, with ours beside."""

from typing import Any, Literal

from pydantic import BaseModel

from modelpilot.api.answers.shapes import ErrorDetail, Price, Shape


class Particulars(Shape):
    """What we add to OpenAI's answers."""

    deployment_id: str
    model_identifier: str
    cost: float
    job_id: str
    response_time_ms: int = 0
    direct_endpoint: None = None
    execution_time_ms: int = 0
    warnings: list[str] = []


class TokenUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class AssistantMessage(Shape):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str = ""
    tool_calls: list[dict[str, Any]] = []


class Choice(Shape):
    index: int
    message: AssistantMessage
    logprobs: dict[str, Any] | None
    finish_reason: str


class ChatCompletion(Shape):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: TokenUsage
    x_modelpilot: Particulars


class CompletionText(Shape):
    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: str


class Completion(Shape):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionText]
    usage: TokenUsage
    x_modelpilot: Particulars


class Embedding(Shape):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(Shape):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: TokenUsage
    x_modelpilot: Particulars


class Transcription(Shape):
    """With times and more where `response_format` is verbose_json."""

    text: str
    usage: dict[str, Any]
    x_modelpilot: Particulars
    task: Literal["transcribe"] = "transcribe"
    language: str | None = None
    duration: float = 0
    words: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []


class Image(Shape):
    seed: int
    width: int
    height: int
    url: str = ""
    b64_json: str = ""


class Images(Shape):
    created: int
    data: list[Image]
    output_format: str
    size: str
    x_modelpilot: Particulars


class Video(Shape):
    id: str
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: None
    prompt: str | None
    size: str
    seconds: str
    remixed_from_video_id: None
    error: ErrorDetail | None
    x_modelpilot: "VideoParticulars"


class VideoParticulars(Shape):
    job_id: str
    cost: float


class VideoList(Shape):
    object: Literal["list"]
    data: list[Video]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedVideo(Shape):
    id: str
    object: Literal["video.deleted"]
    deleted: Literal[True]


class ModelPrice(Price):
    currency: Literal["USD"]


class Model(Shape):
    """`parameters` are the ranges that a request's may have."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    modality: str
    description: str
    status: str
    pricing: ModelPrice
    parameters: dict[str, Any]
    deployment_id: str
