"""What goes into an engine and what comes out, for every kind of model.

A request is a frozen dataclass that survives a trip through JSON (see `request_from`,
bytes go as base64); an engine tells its progress by calling `emit` and returns
one `Result` envelope whatever it made.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from inference.catalog import Card
    from inference.weights import Weights


class Kind(StrEnum):
    """What models do; a card has exactly one."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    EMBEDDING = "embedding"
    TRANSCRIPTION = "transcription"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to continue; the fields have OpenAI's names and meanings.

    `prompt` is bare text to continue, without a chat template and instead of `messages`.
    `max_tokens` None means up to the model's context; `temperature` and `top_p`
    None mean the card's default; `n` is the number of independent answers.
    """

    messages: list[dict[str, Any]] = field(default_factory=list)
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    response_format: dict[str, Any] | None = None
    prompt: str | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    logit_bias: dict[str, float] = field(default_factory=dict)

    @property
    def asked_in(self) -> str:
        """The field that holds the question, for messages about it."""
        return "messages" if self.prompt is None else "prompt"


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """Text to speak. `speed` multiplies the voice's pace, 0.5 to 2.0.

    `voice` is a name or a mix (see `inference.sound.voices`). `audio_prompt` is a recording in
    base64, whose voice is to speak: only where a card allows cloning.
    """

    text: str
    voice: str | None = None
    speed: float = 1.0
    format: str = "wav"
    audio_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A picture to draw, `n` times: picture number i is drawn from `seed` + i.

    `width` and `height` in pixels. `guidance` None: the model has none. `image` is the
    encoded picture to begin with, of which `strength` (0 to 1) is drawn anew; `mask`
    is white where that may happen. `format` is "png", "jpeg" or "webp".
    """

    prompt: str
    width: int
    height: int
    steps: int
    seed: int
    guidance: float | None = None
    negative_prompt: str | None = None
    n: int = 1
    image: bytes | None = None
    mask: bytes | None = None
    strength: float | None = None
    format: str = "png"


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """A film of `num_frames` frames at `fps` a second; `image` is its first frame, encoded."""

    prompt: str
    width: int
    height: int
    num_frames: int
    fps: int
    steps: int
    seed: int
    guidance: float | None = None
    negative_prompt: str | None = None
    image: bytes | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to turn into vectors. `dimensions` None: as many as the model has."""

    inputs: list[str]
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """Speech to write down: `audio` is the encoded recording, `language` an ISO 639-1 code.

    Without a language the model finds out. `prompt` is text that might have come before;
    `words` says whether the time of each word is wanted.
    """

    audio: bytes
    language: str | None = None
    prompt: str | None = None
    temperature: float = 0.0
    words: bool = False


type_of_request = {
    Kind.TEXT: ChatRequest,
    Kind.IMAGE: ImageRequest,
    Kind.AUDIO: SpeechRequest,
    Kind.VIDEO: VideoRequest,
    Kind.EMBEDDING: EmbeddingRequest,
    Kind.TRANSCRIPTION: TranscriptionRequest,
}

Request = (
    ChatRequest
    | ImageRequest
    | SpeechRequest
    | VideoRequest
    | EmbeddingRequest
    | TranscriptionRequest
)


def request_from(kind: Kind, fields: dict[str, Any]) -> Request:
    """A request from its JSON form."""
    given = [name for name in BINARY[kind] if fields.get(name) is not None]
    binary = {name: base64.b64decode(fields[name]) for name in given}
    request: Request = type_of_request[kind](**{**fields, **binary})
    return request


# The fields that are bytes.
BINARY: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: (),
    Kind.IMAGE: ("image", "mask"),
    Kind.AUDIO: (),
    Kind.VIDEO: ("image",),
    Kind.EMBEDDING: (),
    Kind.TRANSCRIPTION: ("audio",),
}


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of generated text of answer number `index`, made of `tokens` tokens.

    `part` says what it is a piece of: "content", "reasoning" (thoughts before the answer), or
    "call.0", "call.1", … (the arguments of a tool call, as JSON). The first piece of a call may be
    empty and carries its `call`. `logprobs` has an entry of OpenAI's shape for each token of
    "content", if they were asked for.
    """

    text: str
    index: int = 0
    part: str = "content"
    tokens: int = 1
    call: "Call | None" = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Call:
    """Which tool is called, and the id by which its answer will refer to that."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Read:
    """The prompt has been read: `tokens` of them, `cached` of which were known from before."""

    tokens: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Sound:
    """A spoken sentence: the next bytes of the file. `sample_rate` in Hz is the file's.

    `warnings` are those of the whole answer, as they are known before the first word.
    `characters` of the text are spoken by it.
    """

    content: bytes
    sample_rate: int
    warnings: list[str] = field(default_factory=list)
    characters: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is, 0.0 to 1.0."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Preview:
    """What a picture or film looks like so far: a small JPEG."""

    content: bytes


Event = Delta | Read | Sound | Progress | Preview

# Called by the engine from whichever thread does the work. It raises
# `errors.Cancelled` when the job should stop; the engine lets that pass through
# `generate` after it has freed what the request held.
Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class File:
    """One finished output, ready to be stored."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """What `generate` returns.

    `data` is JSON and kind-specific. Text: `{"choices": [{"index", "text", "reasoning",
    "tool_calls", "logprobs", "finish_reason"}], "usage": {"prompt_tokens", "completion_tokens",
    "total_tokens", "prompt_tokens_details": {"cached_tokens"}, "completion_tokens_details":
    {"reasoning_tokens"}}}`; `reasoning`, `tool_calls` and `logprobs` (of OpenAI's shapes) are
    left out where there are none.
    Audio: `{"sample_rate", "duration_s"}` beside one file. Image: `{"images": [{"seed",
    "width", "height"}]}` beside as many files. Video: `{"seed", "width", "height",
    "num_frames", "fps", "duration_s"}` beside an MP4 and its poster (JPEG).
    Embedding: `{"embeddings", "dimensions", "usage": {"prompt_tokens", "total_tokens"}}`, each
    embedding little-endian float32 in base64. Transcription: `{"text", "language", "duration_s",
    "segments": [{"id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob",
    "compression_ratio", "no_speech_prob"}], "words": [{"word", "start", "end"}], "usage":
    {"type": "duration", "seconds"}}`, times in seconds, `language` as an English word; the
    Deltas that were emitted are, together, its `text`.
    """

    data: dict[str, Any]
    files: list[File] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Device:
    """Where a pod's model sits: `kind` is "cpu" or "cuda"; `threads` bounds CPU work.

    `memory_mb` is the memory of a GPU that the pod may use, in MB; None is all that is free.
    `count` GPUs from `index` on are the pod's, each with that much.
    """

    kind: str = "cpu"
    index: int = 0
    threads: int = 1
    memory_mb: int | None = None
    count: int = 1

    @property
    def name(self) -> str:
        """What PyTorch calls it."""
        return "cpu" if self.kind == "cpu" else f"{self.kind}:{self.index}"


class Engine(Protocol):
    """One loaded model.

    An engine module has a function `load(card, weights, device) -> Engine` that
    returns when the model can answer. `generate` blocks its thread, may be
    called from `slots` threads at once, and raises only the errors of
    `inference.errors`.
    """

    slots: int

    def generate(self, request: Any, emit: Emit) -> Result: ...

    def close(self) -> None: ...


class EngineModule(Protocol):
    """The shape of an engine's module, e.g. `inference.speech_kokoro`."""

    def load(self, card: "Card", weights: "Weights", device: Device) -> Engine: ...
