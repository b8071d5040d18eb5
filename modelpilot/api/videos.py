"""Films: as the original has them, and as OpenAI's clients ask for them."""

import re
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Query, Router
from pydantic import BeforeValidator, Field, model_validator

from billing.money import usd
from inference.types import Kind
from modelpilot.api import native, ordering, waiting
from modelpilot.api.answers.jobs import Accepted, Failed, GeneratedVideos, Pending
from modelpilot.api.answers.openai import DeletedVideo, Video, VideoList
from modelpilot.api.auth import Key, principal_of
from modelpilot.api.drawing import (
    DrawingBody,
    OpenAIDrawingBody,
    Picture,
    Size,
    settled,
)
from modelpilot.api.forms import described, read_form
from modelpilot.api.jobs import delete, find, known_id
from modelpilot.api.openapi import sends
from modelpilot.api.outputs import absolute, shown_output
from modelpilot.api.schemas import OFF, Whole, refuse_unsupported, spelled
from modelpilot.errors import ApiError
from modelpilot.fleet.catalog import cards
from modelpilot.hop import hop
from modelpilot.jobs import shown, storage
from modelpilot.jobs.ids import spell
from modelpilot.jobs.models import Job, Output

router = Router(tags=["Video"])
openai_router = Router(tags=["OpenAI-compatible"])

MP4 = "video/mp4"
PAGE = 20


# As the original has them


class VideoBody(DrawingBody):
    num_frames: Size | None = None
    fps: Size | None = None


@router.post(
    "/generate/video",
    auth=Key("generate"),
    summary="Generate a video",
    response={200: GeneratedVideos, 202: Accepted},
)
async def generate_video(request: HttpRequest, body: VideoBody) -> HttpResponseBase:
    """Start a film: 202 with a `poll_url`. (With `Prefer: wait=N`, 200 if it is done by then.)"""
    return await native.generate(
        request,
        skin(request),
        model=body.model,
        body=body.request(),
        wait_s=waiting.preferred_wait(request, 0.0),
        webhook=body.webhook,
        max_cost=body.max_cost,
    )


@router.get(
    "/generate/video/status/{job_id}",
    auth=Key("read", "generate", any_of=True, polling=True),
    summary="Poll a generated video",
    response={200: GeneratedVideos | Failed, 202: Pending},
)
async def video_status(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """202 while the film is being made, then 200; `status` says which in capitals."""
    return await native.status(request, job_id, skin(request))


STATUSES: dict[str, str] = {
    Job.State.QUEUED: "IN_QUEUE",
    Job.State.RUNNING: "IN_PROGRESS",
    Job.State.SUCCEEDED: "COMPLETED",
    Job.State.FAILED: "FAILED",
    Job.State.CANCELLED: "CANCELLED",
}


def skin(request: HttpRequest) -> native.Skin:
    def answer(job: Job) -> dict[str, Any]:
        result: dict[str, Any] = job.result or {}
        return {
            "id": spell("vid_", job.id),
            "model": job.model,
            "status": STATUSES[Job.State.SUCCEEDED],
            "videos": [film(request, job)],
            "cost": usd(job.cost),
            "execution_time_ms": native.execution_time_ms(job),
            "warnings": result["warnings"],
        }

    return native.Skin(
        "generate/video",
        Kind.VIDEO,
        answer,
        made="vid_",
        making="vid_",
        polled="run-",
        statuses=STATUSES,
    )


def film(request: HttpRequest, job: Job) -> dict[str, Any]:
    def link(output: Output) -> str:
        return absolute(request, storage.signed_path(output.id))

    about = {key: value for key, value in (job.result or {}).items() if key != "warnings"}
    return {
        "url": link(file_of(job, "video")),
        "poster_url": link(file_of(job, "thumbnail")),
        **about,
    }


def file_of(job: Job, variant: str) -> Output:
    """The film, or the picture that stands for it; ApiError 404 once they are deleted."""
    for output in job.outputs.all():
        if (output.media_type == MP4) == (variant == "video"):
            return output
    raise shown.job_error(shown.DELETED)


# As OpenAI's clients ask for them


def read_as_number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[1-9]\d{0,2}", value) else value


class VideosBody(OpenAIDrawingBody):
    # A number, or as OpenAI's clients send it: as text.
    seconds: (
        Annotated[
            Whole,
            BeforeValidator(read_as_number),
            Field(ge=1, le=600),
            spelled(type=["integer", "string"], pattern=r"^[1-9]\d?$|^[1-5]\d\d$|^600$"),
        ]
        | None
    ) = None
    # The first frame.
    input_reference: Annotated[Picture | None, Field(serialization_alias="image")] = None
    num_frames: Size | None = None
    fps: Size | None = None

    @model_validator(mode="before")
    @classmethod
    def only_supported(cls, body: Any) -> Any:
        return refuse_unsupported(body, {"characters": OFF, "remix_id": OFF})

    def request(self) -> dict[str, Any]:
        """As `inference.types.VideoRequest` takes it."""
        asked = self.given()
        seconds = asked.pop("seconds", None)
        if seconds is not None:
            asked.setdefault("num_frames", self.frames(seconds, self.fps))
        return settled(self.model, asked)

    def frames(self, seconds: int, fps: int | None) -> int:
        """As many frames as fill `seconds`; ApiError 422 if the model can't make so many."""
        card = cards().find(self.model)
        if card is None or not {"num_frames", "fps"} <= card.parameters.keys():
            return 1  # of another kind, and refused in a moment
        pace = fps or card.parameters["fps"].default
        most = card.parameters["num_frames"].max
        if seconds * pace > most:
            raise ApiError(
                422,
                "invalid_value",
                f"'seconds' may be at most {most / pace:.3g} for {card.id}, at {pace:g} frames "
                "a second.",
                param="seconds",
            )
        return max(round(seconds * pace), int(card.parameters["num_frames"].min))


@openai_router.post(
    "/videos",
    auth=Key("read", "proxy"),
    summary="Create a video",
    openapi_extra=described(VideosBody, "input_reference"),
    response=Video,
)
async def create_video(request: HttpRequest) -> HttpResponseBase:
    """Start a film; look at `GET /videos/{id}` until it is `completed`."""
    body, digest = await hop(read_form, request, VideosBody)
    placed = await ordering.place(
        request,
        route="videos",
        kind=Kind.VIDEO,
        permission="proxy",
        model=body.model,
        body=body.request(),
        webhook=body.webhook,
        max_cost=body.max_cost,
        digest=digest,
    )
    return JsonResponse(await hop(lambda: video(waiting.read(placed.id))))


@openai_router.get(
    "/videos", auth=Key("read", polling=True), summary="List videos", response=VideoList
)
async def list_videos(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=100)] = PAGE,
    after: Annotated[str | None, Field(max_length=60)] = None,
    order: Literal["asc", "desc"] = "desc",
) -> HttpResponseBase:
    """Your films; `after` is the id of the last one of the page before."""

    def page() -> dict[str, Any]:
        jobs = Job.objects.filter(owner=principal_of(request).user_id, kind=Kind.VIDEO)
        newest_first = order == "desc"
        if after is not None:
            jobs = jobs.filter(**{"id__lt" if newest_first else "id__gt": known_id(after)})
        rows = list(jobs.order_by("-id" if newest_first else "id")[: limit + 1])
        films = [video(job) for job in rows[:limit]]
        return {
            "object": "list",
            "data": films,
            "has_more": len(rows) > limit,
            "first_id": films[0]["id"] if films else None,
            "last_id": films[-1]["id"] if films else None,
        }

    return JsonResponse(await hop(page))


@openai_router.get(
    "/videos/{job_id}",
    auth=Key("read", "proxy", any_of=True, polling=True),
    summary="Read a video",
    response=Video,
)
async def read_video(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """One film: `queued`, `in_progress`, `completed` or `failed`."""
    return JsonResponse(await hop(lambda: video(find(request, job_id, Kind.VIDEO))))


@openai_router.get(
    "/videos/{job_id}/content",
    auth=Key("read", "proxy", any_of=True),
    summary="Download a video",
    response={200: None},
    openapi_extra=sends(MP4, "image/jpeg"),
)
async def video_content(
    request: HttpRequest, job_id: str, variant: Literal["video", "thumbnail"] = "video"
) -> HttpResponseBase:
    """The MP4, or its first frame as a picture."""

    def content() -> HttpResponseBase:
        job = find(request, job_id, Kind.VIDEO)
        if not job.terminal:
            raise ApiError(409, "job_not_finished", "The video is still being made. Poll it.")
        if failure := shown.failure(job):
            raise failure
        return shown_output(file_of(job, variant))

    return await hop(content)


@openai_router.delete(
    "/videos/{job_id}", auth=Key("read"), summary="Delete a video", response=DeletedVideo
)
async def delete_video(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """Remove the film and its prompt for good."""

    def remove() -> HttpResponseBase:
        job = find(request, job_id, Kind.VIDEO)
        delete(job)
        return JsonResponse(
            {"id": spell("vid_", job.id), "object": "video.deleted", "deleted": True}
        )

    return await hop(remove)


OPENAI_STATUSES = {
    Job.State.QUEUED: "queued",
    Job.State.RUNNING: "in_progress",
    Job.State.SUCCEEDED: "completed",
    Job.State.FAILED: "failed",
    Job.State.CANCELLED: "failed",
}


def video(job: Job) -> dict[str, Any]:
    """A job as OpenAI's clients read a film."""
    asked = job.request
    progress = 1.0 if job.terminal else waiting.outlook(job).progress
    error = shown.job_error(job.error).body()["error"] if job.error else None
    return {
        "id": spell("vid_", job.id),
        "object": "video",
        "model": job.model,
        "status": OPENAI_STATUSES[Job.State(job.state)],
        "progress": round(100 * progress),
        "created_at": shown.timestamp(job.created_at),
        "completed_at": shown.timestamp(job.finished_at),
        "expires_at": None,
        "prompt": asked.get("prompt"),
        "size": f"{asked['width']}x{asked['height']}" if asked else "",
        "seconds": f"{asked['num_frames'] / asked['fps']:.3g}" if asked else "",
        "remixed_from_video_id": None,
        "error": error,
        "x_modelpilot": {
            "job_id": str(job.id),
            "cost": usd(job.cost if job.terminal else job.price),
        },
    }
