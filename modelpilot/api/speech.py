"""OpenAI's /audio/speech: the audio file itself, sent as it is spoken."""

import asyncio
import base64
import logging
import uuid
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from ninja import Router

from billing.money import usd
from inference.types import Kind
from modelpilot.api import ordering, waiting
from modelpilot.api.auth import Key
from modelpilot.api.openapi import sends
from modelpilot.api.ordering import Placed
from modelpilot.api.schemas import SpeechBody
from modelpilot.api.voices import check_voice
from modelpilot.hop import hop
from modelpilot.jobs import shown, storage
from modelpilot.jobs.models import Job
from modelpilot.jobs.parts import Event

log = logging.getLogger(__name__)

router = Router(tags=["OpenAI-compatible"])

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


@router.post(
    "/audio/speech",
    auth=Key("read", "proxy"),
    summary="Create speech",
    response={200: None},
    openapi_extra=sends(*MEDIA_TYPES.values()),
)
async def create_speech(request: HttpRequest, body: SpeechBody) -> HttpResponseBase:
    """Speak a text. The answer is the audio file, sent sentence by sentence as it is spoken."""
    check_voice(body.model, body.voice, body.speed)
    placed = await ordering.place(
        request,
        route="audio/speech",
        kind=Kind.AUDIO,
        permission="proxy",
        model=body.model,
        body=body.request(),
        watched=True,
        webhook=body.webhook,
        max_cost=body.max_cost,
    )
    first = await waiting.first_or_cancelled(placed.subscription, opens)
    if first["type"] == "end":
        response = await hop(spoken, placed.id)
    else:
        response = begun(placed, first, MEDIA_TYPES[body.response_format])
    return response


def opens(event: Event) -> bool:
    """Whether the answer can begin: with the first bytes, or because the job is over."""
    return bool(event["type"] == "end" or (event["type"] == "sound" and event["offset"] == 0))


def begun(placed: Placed, first: Event, media_type: str) -> HttpResponseBase:
    response = StreamingHttpResponse(sound(placed, first), content_type=media_type)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    # Known before the end: by the request, and by the text. What fails after all is not charged.
    particulars(response, placed.id, placed.price, first["sample_rate"], first["warnings"])
    return response


def particulars(
    response: HttpResponseBase, job: uuid.UUID, cost: int, sample_rate: int, warnings: list[str]
) -> None:
    response.headers["x-modelpilot-job-id"] = str(job)
    response.headers["x-modelpilot-cost"] = str(usd(cost))
    response.headers["x-modelpilot-sample-rate"] = str(sample_rate)
    if warnings:
        response.headers["x-modelpilot-warnings"] = " ".join(warnings)


async def sound(placed: Placed, first: Event) -> AsyncIterator[bytes]:
    """The bytes of the file, each once. A client that stops reading cancels the job."""
    over = False
    try:
        piece = base64.b64decode(first["data"])
        sent = len(piece)
        yield piece
        async for event in waiting.events(placed.subscription):
            # A piece that does not follow on what was sent is in the file at the end.
            if event["type"] == "sound" and event["offset"] == sent:
                piece = base64.b64decode(event["data"])
                sent += len(piece)
                yield piece
        over = True
        end = await hop(rest, placed.id, sent)
        if end is None:
            # Ends the connection before the last chunk, so the client knows that something lacks.
            raise asyncio.CancelledError
        yield end
    finally:
        if not over:
            waiting.cancel_detached(placed.id)


def rest(job_id: uuid.UUID, sent: int) -> bytes | None:
    """What the stored file has beyond what was sent (it is the same, but for a WAV's sizes);
    None if there is none."""
    job = waiting.read(job_id)
    if shown.failure(job):
        log.warning("Job %s ended as %s in the midst of its sound.", job_id, job.state)
        return None
    return stored(job)[sent:]


def stored(job: Job) -> bytes:
    return storage.read(job.outputs.all()[0])


def spoken(job_id: uuid.UUID) -> HttpResponseBase:
    """The audio file of a job that has ended; ApiError where there is none."""
    job = waiting.read(job_id)
    if failure := shown.failure(job):
        raise failure
    result = job.result or {}
    response = HttpResponse(stored(job), content_type=job.outputs.all()[0].media_type)
    particulars(response, job.id, job.cost, result["sample_rate"], result["warnings"])
    return response
