"""Speech: the native route with its poll route, and OpenAI's /audio/speech."""

import base64
import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Router

from billing.money import usd
from inference.types import Kind
from modelpilot.api import native, ordering, waiting
from modelpilot.api.auth import Key
from modelpilot.api.schemas import AudioBody, SpeechBody
from modelpilot.errors import ApiError
from modelpilot.fleet.catalog import cards
from modelpilot.hop import hop
from modelpilot.jobs import shown, storage
from modelpilot.jobs.ids import spell
from modelpilot.jobs.models import Job

router = Router(tags=["Audio"])
openai_router = Router(tags=["OpenAI-compatible"])

WAIT_S = 25.0


@router.post("/generate/audio", auth=Key("generate"), summary="Generate speech")
async def generate_audio(request: HttpRequest, body: AudioBody) -> HttpResponseBase:
    """Speak a text. 200 with the audio, or 202 with a `poll_url` where that takes longer."""
    check_voice(body.model, body.voice)
    return await native.generate(
        request,
        route="generate/audio",
        kind=Kind.AUDIO,
        model=body.model,
        body=body.request(),
        wait_s=waiting.preferred_wait(request, WAIT_S),
        shape=audio,
        webhook=body.webhook,
    )


@router.get(
    "/generate/audio/status/{job_id}",
    auth=Key("read", "generate", any_of=True, polling=True),
    summary="Poll generated speech",
)
async def audio_status(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """202 while the job is pending, then 200 with its `status`."""
    return await native.status(request, job_id, Kind.AUDIO, audio)


def check_voice(model: str, voice: str | None) -> None:
    """ApiError 422 for a voice that the model's card does not have."""
    card = cards().find(model)
    if card is None or voice is None or card.kind != Kind.AUDIO or not card.voices:
        return
    if voice not in card.voices and voice not in card.voice_aliases:
        raise ApiError(
            422,
            "invalid_value",
            f"{card.id} has no voice '{voice}'. It has: {', '.join(card.voices)}.",
            param="voice",
        )


def audio(job: Job) -> dict[str, Any]:
    """The original's answer, from a succeeded job."""
    result: dict[str, Any] = job.result or {}
    return {
        "id": spell("gen_", job.id),
        "model": job.model,
        "audio": base64.b64encode(first_output(job)).decode(),
        "format": "wav",
        "sample_rate": result["sample_rate"],
        "cost": usd(job.cost),
        "execution_time_ms": native.execution_time_ms(job),
        "warnings": result["warnings"],
    }


def first_output(job: Job) -> bytes:
    return storage.read(job.outputs.all()[0])


@openai_router.post("/audio/speech", auth=Key("read", "proxy"), summary="Create speech")
async def create_speech(request: HttpRequest, body: SpeechBody) -> HttpResponseBase:
    """Speak a text; the answer is the audio file itself."""
    check_voice(body.model, body.voice)
    placed = await ordering.place(
        request,
        route="audio/speech",
        kind=Kind.AUDIO,
        permission="proxy",
        model=body.model,
        body=body.request(),
        watched=True,
        webhook=body.webhook,
    )
    await waiting.finished_or_cancelled(placed.subscription)
    response = await hop(spoken, placed.id)
    if placed.earlier:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def spoken(job_id: uuid.UUID) -> HttpResponseBase:
    """The audio file of a job that has ended; ApiError where there is none."""
    job = waiting.read(job_id)
    if job.state != Job.State.SUCCEEDED:
        raise shown.job_error(job.error)
    response = HttpResponse(first_output(job), content_type=job.outputs.all()[0].media_type)
    response.headers["x-modelpilot-job-id"] = str(job.id)
    response.headers["x-modelpilot-cost"] = str(usd(job.cost))
    return response
