"""Speech as the original has it: generated, and polled."""

import base64
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from billing.money import usd
from inference.types import Kind
from modelpilot.api import native, waiting
from modelpilot.api.answers.jobs import Accepted, Failed, GeneratedAudio, Pending
from modelpilot.api.auth import Key
from modelpilot.api.schemas import AudioBody
from modelpilot.api.voices import check_voice
from modelpilot.jobs import storage
from modelpilot.jobs.ids import spell
from modelpilot.jobs.models import Job

router = Router(tags=["Audio"])

WAIT_S = 25.0


@router.post(
    "/generate/audio",
    auth=Key("generate"),
    summary="Generate speech",
    response={200: GeneratedAudio, 202: Accepted},
)
async def generate_audio(request: HttpRequest, body: AudioBody) -> HttpResponseBase:
    """Speak a text. 200 with the audio, or 202 with a `poll_url` where that takes longer."""
    check_voice(body.model, body.voice, body.speed, body.audio_prompt)
    return await native.generate(
        request,
        SKIN,
        model=body.model,
        body=body.request(),
        wait_s=waiting.preferred_wait(request, WAIT_S),
        webhook=body.webhook,
        max_cost=body.max_cost,
    )


@router.get(
    "/generate/audio/status/{job_id}",
    auth=Key("read", "generate", any_of=True, polling=True),
    summary="Poll generated speech",
    response={200: GeneratedAudio | Failed, 202: Pending},
)
async def audio_status(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """202 while the job is pending, then 200 with its `status`."""
    return await native.status(request, job_id, SKIN)


def audio(job: Job) -> dict[str, Any]:
    """The original's answer, from a succeeded job."""
    result: dict[str, Any] = job.result or {}
    return {
        "id": spell("gen_", job.id),
        "model": job.model,
        "audio": base64.b64encode(storage.read(job.outputs.all()[0])).decode(),
        "format": "wav",
        "sample_rate": result["sample_rate"],
        "cost": usd(job.cost),
        "execution_time_ms": native.execution_time_ms(job),
        "warnings": result["warnings"],
    }


SKIN = native.Skin("generate/audio", Kind.AUDIO, audio)
