"""POST /audio/transcriptions: speech written down, in the shapes of the OpenAI SDKs."""

import asyncio
import base64
import binascii
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from ninja import Router
from pydantic import AfterValidator, Field, model_validator

from billing.money import usd
from inference.types import Kind
from modelpilot.api import ordering, subtitles, waiting
from modelpilot.api.answers.jobs import Job as JobAnswer
from modelpilot.api.answers.openai import Transcription
from modelpilot.api.auth import Key
from modelpilot.api.chat import BEGIN_S, data, failure, particulars
from modelpilot.api.forms import described, read_form
from modelpilot.api.jobs import accepted
from modelpilot.api.openapi import sends
from modelpilot.api.ordering import Placed
from modelpilot.api.schemas import (
    OFF,
    MaxCost,
    ModelName,
    Number,
    OpenAI,
    WebhookUrl,
    refuse_unsupported,
)
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import outcome
from modelpilot.jobs.outcome import Outcome

router = Router(tags=["OpenAI-compatible"])

UNSUPPORTED: dict[str, tuple[Any, ...]] = dict.fromkeys(
    ("chunking_strategy", "include", "known_speaker_names", "known_speaker_references"), OFF
)
PROMPT_LENGTH = 10_000
Granularity = Literal["word", "segment"]


def recording(text: str) -> str:
    """A file in base64; whether it is a recording is found out where it is read."""
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("must be a file, or one in base64") from None
    if not content:
        raise ApiError(400, "invalid_value", "'file' is empty. Send a recording.", param="file")
    return text


class TranscriptionsBody(OpenAI):
    model: ModelName
    file: Annotated[str, AfterValidator(recording)]
    # ISO 639-1.
    language: Annotated[str, Field(min_length=2, max_length=8, pattern="^[a-z]+$")] | None = None
    prompt: Annotated[str, Field(max_length=PROMPT_LENGTH)] | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[Number, Field(ge=0, le=1)] = 0.0
    timestamp_granularities: Annotated[list[Granularity], Field(max_length=4)] = []
    stream: bool = False
    webhook: WebhookUrl | None = None
    max_cost: MaxCost | None = None

    @model_validator(mode="before")
    @classmethod
    def only_supported(cls, body: Any) -> Any:
        return refuse_unsupported(body, UNSUPPORTED)

    @model_validator(mode="after")
    def belongs_together(self) -> "TranscriptionsBody":
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise ValueError(
                "has 'timestamp_granularities', which need the response_format 'verbose_json'"
            )
        if self.stream and self.response_format not in ("json", "text"):
            raise ValueError("has 'stream', which needs the response_format 'json' or 'text'")
        return self

    def request(self) -> dict[str, Any]:
        """As `inference.types.TranscriptionRequest` takes it."""
        return {
            "audio": self.file,
            "language": self.language,
            "prompt": self.prompt or None,
            "temperature": self.temperature,
            "words": "word" in self.timestamp_granularities,
        }


@router.post(
    "/audio/transcriptions",
    auth=Key("read", "proxy"),
    summary="Create a transcription",
    openapi_extra=described(TranscriptionsBody, "file") | sends("text/event-stream", "text/plain"),
    response={200: Transcription, 202: JobAnswer},
)
async def create_transcription(request: HttpRequest) -> HttpResponseBase:
    """Write down what is said in a recording. With `stream` the text comes as Server-Sent
    Events as it is understood, and with the header `Prefer: respond-async` as a job to look at
    later."""
    body, digest = await hop(read_form, request, TranscriptionsBody, ("timestamp_granularities",))
    later = waiting.prefers_async(request)
    placed = await ordering.place(
        request,
        route="audio/transcriptions",
        kind=Kind.TRANSCRIPTION,
        permission="proxy",
        model=body.model,
        body=body.request(),
        stream=body.stream and not later,
        watched=not later,
        webhook=body.webhook,
        max_cost=body.max_cost,
        digest=digest,
    )
    if later:
        response = await hop(accepted, request, placed.id)
    elif body.stream:
        response = await stream(placed)
    else:
        await waiting.finished_or_cancelled(placed.subscription)
        response = written(await hop(outcome.read, placed.id), body)
    return response


def written(job: Outcome, body: TranscriptionsBody) -> HttpResponseBase:
    """The text in the format that was asked for; ApiError for a job that did not succeed."""
    if not job.succeeded:
        raise failure(job)
    result = job.result
    match body.response_format:
        case "text":
            response = plain(f"{result['text']}\n")
        case "srt":
            response = plain(subtitles.srt(result["segments"]))
        case "vtt":
            response = plain(subtitles.vtt(result["segments"]))
        case "verbose_json":
            response = as_json({**verbose(result, body), "x_modelpilot": particulars(job)})
        case _:
            brief = {"text": result["text"], "usage": result["usage"]}
            response = as_json({**brief, "x_modelpilot": particulars(job)})
    response.headers["x-modelpilot-job-id"] = str(job.id)
    response.headers["x-modelpilot-cost"] = str(usd(job.cost))
    return response


def verbose(result: dict[str, Any], body: TranscriptionsBody) -> dict[str, Any]:
    """The text with its times: of segments, unless only words were asked for."""
    wanted = body.timestamp_granularities or ["segment"]
    return {
        "task": "transcribe",
        "language": result["language"],
        "duration": result["duration_s"],
        "text": result["text"],
        **({"words": result["words"]} if "word" in wanted else {}),
        **({"segments": result["segments"]} if "segment" in wanted else {}),
        "usage": result["usage"],
    }


def plain(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def as_json(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), content_type="application/json")


async def stream(placed: Placed) -> HttpResponseBase:
    """Begin a stream, unless the job fails before there is anything to send."""
    try:
        over = await waiting.over_already(placed.subscription, BEGIN_S)
        ended = await hop(outcome.read, placed.id) if over else None
    except asyncio.CancelledError:
        waiting.cancel_detached(placed.id)
        raise
    if ended is not None and not ended.succeeded:
        raise failure(ended)
    response = StreamingHttpResponse(told(placed), content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["x-modelpilot-job-id"] = str(placed.id)
    return response


async def told(placed: Placed) -> AsyncIterator[bytes]:
    """Server-Sent Events. A client that stops reading cancels the job."""
    over = False
    sent = 0
    try:
        async for event in waiting.events(placed.subscription):
            match event["type"]:
                case "delta":
                    # A repeated piece begins at an earlier place.
                    if new := event["text"][max(0, sent - event["offset"]) :]:
                        sent += len(new)
                        yield delta(new)
                case "tick":
                    yield await hop(comment, placed.id)
        over = True
        job = await hop(outcome.read, placed.id)
        for piece in ending(job, sent):
            yield piece
    finally:
        if not over:
            waiting.cancel_detached(placed.id)


def ending(job: Outcome, sent: int) -> list[bytes]:
    """What remains once the job has ended: the row has the last word."""
    if not job.succeeded:
        return [data(failure(job).body())]
    text = job.result["text"]
    done = {
        "type": "transcript.text.done",
        "text": text,
        "usage": job.result["usage"],
        "x_modelpilot": particulars(job),
    }
    return [*([delta(text[sent:])] if text[sent:] else []), data(done)]


def delta(text: str) -> bytes:
    return data({"type": "transcript.text.delta", "delta": text})


def comment(job: uuid.UUID) -> bytes:
    """A comment line that keeps the connection open and says what it waits for."""
    outlook = waiting.outlook(waiting.read(job))
    place = f", position {outlook.queue_position}" if outlook.queue_position else ""
    return f": {outlook.phase}{place}\n\n".encode()
