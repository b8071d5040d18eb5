"""Pictures: as the original has them, and as OpenAI's clients ask for them."""

import base64
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router
from pydantic import Field, model_validator

from billing.money import usd
from inference.types import Kind
from modelpilot.api import native, ordering, waiting
from modelpilot.api.answers.jobs import Accepted, Failed, GeneratedImages, Pending
from modelpilot.api.answers.openai import Images
from modelpilot.api.auth import Key
from modelpilot.api.drawing import (
    Count,
    DrawingBody,
    OpenAIDrawingBody,
    Picture,
    Strength,
    check_pair,
    settled,
)
from modelpilot.api.forms import described, read_form
from modelpilot.api.outputs import absolute
from modelpilot.api.schemas import OFF, refuse_unsupported
from modelpilot.hop import hop
from modelpilot.jobs import shown, storage
from modelpilot.jobs.ids import created, spell
from modelpilot.jobs.models import Job

router = Router(tags=["Images"])
openai_router = Router(tags=["OpenAI-compatible"])

WAIT_S = 25.0
UNSUPPORTED: dict[str, tuple[Any, ...]] = dict.fromkeys(
    (
        "background",
        "input_fidelity",
        "moderation",
        "output_compression",
        "partial_images",
        "quality",
        "stream",
        "style",
    ),
    OFF,
)
# What the SDK's samples send and what we do anyway.
USUAL = {"quality": "standard", "style": "vivid"}
BASE64 = "base64"
Format = Literal["png", "jpeg", "webp"]


# As the original has them


class ImageBody(DrawingBody):
    n: Count = 1
    # How much of `image` is drawn anew, above 0 and up to 1.
    strength: Strength | None = None
    mask: Picture | None = None
    output_format: Annotated[Format, Field(serialization_alias="format")] = "png"
    response_format: Literal["base64", "url"] = "base64"

    @model_validator(mode="after")
    def belongs_together(self) -> "ImageBody":
        check_pair(self)
        return self


@router.post(
    "/generate/image",
    auth=Key("generate"),
    summary="Generate images",
    response={200: GeneratedImages, 202: Accepted},
)
async def generate_image(request: HttpRequest, body: ImageBody) -> HttpResponseBase:
    """Draw a picture. 200 with `images`, or 202 with a `poll_url` where that takes longer."""
    return await native.generate(
        request,
        skin(request, body.response_format),
        model=body.model,
        body=body.request(),
        wait_s=waiting.preferred_wait(request, WAIT_S),
        webhook=body.webhook,
        max_cost=body.max_cost,
    )


@router.get(
    "/generate/image/status/{job_id}",
    auth=Key("read", "generate", any_of=True, polling=True),
    summary="Poll generated images",
    response={200: GeneratedImages | Failed, 202: Pending},
)
async def image_status(
    request: HttpRequest, job_id: str, response_format: str = BASE64
) -> HttpResponseBase:
    """202 while the job is pending, then 200 with its `status`."""
    return await native.status(request, job_id, skin(request, response_format))


def skin(request: HttpRequest, response_format: str) -> native.Skin:
    inline = response_format == BASE64

    def answer(job: Job) -> dict[str, Any]:
        result: dict[str, Any] = job.result or {}
        return {
            "id": spell("gen_", job.id),
            "model": job.model,
            "images": pictures(request, job, "base64" if inline else None),
            "cost": usd(job.cost),
            "execution_time_ms": native.execution_time_ms(job),
            "warnings": result["warnings"],
        }

    query = "" if inline else f"&response_format={response_format}"
    return native.Skin("generate/image", Kind.IMAGE, answer, query=query)


def pictures(request: HttpRequest, job: Job, inline: str | None) -> list[dict[str, Any]]:
    """The job's pictures, each with a link, and with its bytes under the name `inline`."""
    made = (job.result or {})["images"]
    files = job.outputs.order_by("name")
    return [
        {
            **({inline: base64.b64encode(storage.read(file)).decode()} if inline else {}),
            "filename": file.name,
            "url": absolute(request, storage.signed_path(file.id)),
            **about,
        }
        for file, about in zip(files, made, strict=True)
    ]


# As OpenAI's clients ask for them


class GenerationsBody(OpenAIDrawingBody):
    n: Count | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Annotated[Format | None, Field(serialization_alias="format")] = None

    @model_validator(mode="before")
    @classmethod
    def only_supported(cls, body: Any) -> Any:
        if isinstance(body, dict):
            body = {key: value for key, value in body.items() if USUAL.get(key) != value}
        return refuse_unsupported(body, UNSUPPORTED)

    def request(self) -> dict[str, Any]:
        """As `inference.types.ImageRequest` takes it."""
        return settled(self.model, self.given())


class EditsBody(GenerationsBody):
    image: Picture
    # Transparent, or white, where the picture may change.
    mask: Picture | None = None
    strength: Strength | None = None

    @model_validator(mode="after")
    def belongs_together(self) -> "EditsBody":
        check_pair(self)
        return self


@openai_router.post(
    "/images/generations", auth=Key("read", "proxy"), summary="Create images", response=Images
)
async def create_images(request: HttpRequest, body: GenerationsBody) -> HttpResponseBase:
    """Draw pictures and wait for them, cold start included. Links and base64, or what
    `response_format` asks for."""
    return await draw(request, "images/generations", body)


@openai_router.post(
    "/images/edits",
    auth=Key("read", "proxy"),
    summary="Edit an image",
    openapi_extra=described(EditsBody, "image", "mask"),
    response=Images,
)
async def edit_image(request: HttpRequest) -> HttpResponseBase:
    """Draw a picture again after a prompt: all of it, or where the `mask` is transparent."""
    body, digest = await hop(read_form, request, EditsBody)
    return await draw(request, "images/edits", body, digest)


async def draw(
    request: HttpRequest, route: str, body: GenerationsBody, digest: bytes | None = None
) -> HttpResponseBase:
    placed = await ordering.place(
        request,
        route=route,
        kind=Kind.IMAGE,
        permission="proxy",
        model=body.model,
        body=body.request(),
        watched=True,
        webhook=body.webhook,
        max_cost=body.max_cost,
        digest=digest,
    )
    await waiting.finished_or_cancelled(placed.subscription)

    def answer() -> HttpResponseBase:
        return drawn(request, waiting.read(placed.id), body.response_format)

    return await hop(answer)


def drawn(request: HttpRequest, job: Job, response_format: str | None) -> HttpResponseBase:
    """OpenAI's answer, from a job that has ended; ApiError if it did not succeed."""
    if failure := shown.failure(job):
        raise failure
    files = pictures(request, job, None if response_format == "url" else "b64_json")
    hidden = {"filename"} | ({"url"} if response_format == "b64_json" else set())
    return JsonResponse(
        {
            "created": created(job.id),
            "data": [
                {key: value for key, value in file.items() if key not in hidden} for file in files
            ],
            "output_format": job.request.get("format", "png"),
            "size": f"{job.request['width']}x{job.request['height']}",
            "x_modelpilot": {
                "deployment_id": job.deployment,
                "model_identifier": job.model,
                "execution_time_ms": native.execution_time_ms(job),
                "cost": usd(job.cost),
                "job_id": str(job.id),
                "warnings": (job.result or {})["warnings"],
            },
        }
    )
