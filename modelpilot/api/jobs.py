"""Jobs: the one resource behind every route."""

import uuid
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from ninja import Query, Router
from pydantic import Field

from inference.types import Kind
from modelpilot.api import ordering, waiting
from modelpilot.api.answers import jobs as answers
from modelpilot.api.answers.shapes import PageOf
from modelpilot.api.auth import PERMISSIONS, Key, permission_denied, principal_of
from modelpilot.api.outputs import absolute
from modelpilot.api.schemas import ReplayBody
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import shown, storage
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.ids import parse
from modelpilot.jobs.models import Job

router = Router(tags=["Jobs"])

PAGE = 20


@router.get(
    "/jobs", auth=Key("read", polling=True), summary="List jobs", response=PageOf[answers.Job]
)
async def list_jobs(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=100)] = PAGE,
    after: Annotated[str | None, Field(max_length=60)] = None,
    state: Job.State | None = None,
    kind: Kind | None = None,
    model: Annotated[str | None, Field(max_length=100)] = None,
    key: Annotated[int | None, Field(ge=0, le=2**63 - 1)] = None,
) -> HttpResponseBase:
    """Your jobs, newest first; `after` is the id of the last job of the page before.

    `state`, `kind`, `model` and `key` (the id of an API key) choose among them.
    """
    chosen = {"state": state, "kind": kind, "model": model, "key": key}

    def page() -> dict[str, Any]:
        jobs = Job.objects.filter(owner=principal_of(request).user_id)
        jobs = jobs.filter(**{name: value for name, value in chosen.items() if value is not None})
        if after is not None:
            jobs = jobs.filter(id__lt=known_id(after))
        rows = list(jobs.prefetch_related("outputs").order_by("-id")[: limit + 1])
        return {
            "object": "list",
            "data": [job_body(request, job) for job in rows[:limit]],
            "has_more": len(rows) > limit,
        }

    return JsonResponse(await hop(page))


@router.get(
    "/jobs/{job_id}",
    auth=Key(*PERMISSIONS, any_of=True, polling=True),
    summary="Read a job",
    response=answers.Job,
)
async def read_job(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """One job, under any spelling of its id."""
    return JsonResponse(await hop(lambda: job_body(request, find(request, job_id))))


@router.post(
    "/jobs/{job_id}/cancel",
    auth=Key(*PERMISSIONS, any_of=True),
    summary="Cancel a job",
    response=answers.Job,
)
async def cancel_job(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """Stop a job. One that waits costs nothing; one that runs ends within a second and costs
    what it has delivered; one that has ended stays as it is."""

    def stop() -> dict[str, Any]:
        job = find(request, job_id)
        cancel(job.id)
        return job_body(request, waiting.read(job.id))

    return JsonResponse(await hop(stop))


@router.post(
    "/jobs/{job_id}/replay",
    auth=Key(*PERMISSIONS, any_of=True),
    summary="Run a job again",
    response={202: answers.Job},
)
async def replay_job(
    request: HttpRequest, job_id: str, body: ReplayBody | None = None
) -> HttpResponseBase:
    """A new job with the same request, at today's price: 202 with the job."""
    job = await hop(find, request, job_id)
    if job.permission not in principal_of(request).permissions:
        raise permission_denied([job.permission])
    if not job.request:
        raise ApiError(409, "job_deleted", "The request of this job was deleted. Send it anew.")
    placed = await ordering.place(
        request,
        route=job.route,
        kind=Kind(job.kind),
        permission=job.permission,
        model=job.model,
        body=job.request,
        max_cost=body.max_cost if body else None,
    )
    return await hop(accepted, request, placed.id)


@router.delete(
    "/jobs/{job_id}", auth=Key("read"), summary="Delete a job's content", response={204: None}
)
async def delete_job(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """Remove outputs, prompt and result for good; what it cost stays in the books."""

    def remove() -> HttpResponseBase:
        delete(find(request, job_id))
        return HttpResponse(status=204)

    return await hop(remove)


def delete(job: Job) -> None:
    """Forget the content of a job that has ended; ApiError 409 for one that has not."""
    if not job.terminal:
        raise ApiError(409, "job_not_finished", "The job still runs. Cancel it first.")
    storage.delete_content(job)


def find(request: HttpRequest, text: str, kind: Kind | None = None) -> Job:
    """The caller's job; ApiError 404 where it isn't theirs, 403 where the key may not see it."""
    principal = principal_of(request)
    job_id = parse(text)
    jobs = Job.objects.prefetch_related("outputs").filter(owner=principal.user_id)
    job = jobs.filter(id=job_id).first() if job_id else None
    if job is None or (kind is not None and job.kind != kind):
        raise not_found()
    if not principal.permissions & {"read", job.permission}:
        raise permission_denied(["read", job.permission])
    return job


def known_id(text: str) -> uuid.UUID:
    job_id = parse(text)
    if job_id is None:
        raise not_found("after")
    return job_id


def not_found(param: str = "id") -> ApiError:
    return ApiError(404, "job_not_found", "You have no such job. Check the id.", param=param)


def job_body(request: HttpRequest, job: Job) -> dict[str, Any]:
    """A job as every route shows it."""
    body = shown.ended(job, lambda path: absolute(request, path))
    if not job.terminal:
        outlook = waiting.outlook(job)
        body["phase"] = outlook.phase
        body["queue_position"] = outlook.queue_position
        body["progress"] = outlook.progress
        body["estimated_time_ms"] = outlook.estimated_time_ms
    return body


def accepted(request: HttpRequest, job_id: uuid.UUID) -> HttpResponseBase:
    """202: the job, for a client that did not want to wait."""
    job = waiting.read(job_id)
    headers = {"Location": f"/api/v1/jobs/{job.id}", "Preference-Applied": "respond-async"}
    if not job.terminal:
        headers["Retry-After"] = "1"
    return JsonResponse(job_body(request, job), status=202, headers=headers)
