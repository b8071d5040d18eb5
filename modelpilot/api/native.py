"""What all /generate routes share: a wait, then the result or a poll URL; and polling."""

import uuid
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from billing.money import usd
from inference.types import Kind
from modelpilot.api import ordering, waiting
from modelpilot.api.jobs import find
from modelpilot.hop import hop
from modelpilot.jobs import shown
from modelpilot.jobs.ids import spell
from modelpilot.jobs.models import Job

# The original asks clients to poll every 10 seconds.
RETRY_AFTER_S = 10

Shape = Callable[[Job], dict[str, Any]]


async def generate(
    request: HttpRequest,
    *,
    route: str,
    kind: Kind,
    model: str,
    body: dict[str, Any],
    wait_s: float,
    shape: Shape,
    webhook: str | None = None,
    max_cost: float | None = None,
) -> HttpResponseBase:
    """Record a job and wait for it as long as the client likes; leaving does not cancel it."""
    placed = await ordering.place(
        request,
        route=route,
        kind=kind,
        permission="generate",
        model=model,
        body=body,
        webhook=webhook,
        max_cost=max_cost,
    )
    over = await waiting.finished(placed.subscription, wait_s)
    response = await hop(finished if over else accepted, placed.id, route, shape)
    return placed.marked(response)


def finished(job_id: uuid.UUID, route: str, shape: Shape) -> HttpResponseBase:
    """200, or the error of a job that did not succeed."""
    job = waiting.read(job_id)
    if job.state != Job.State.SUCCEEDED:
        raise shown.job_error(job.error)
    return JsonResponse(shape(job))


def accepted(job_id: uuid.UUID, route: str, shape: Shape) -> HttpResponseBase:
    """202, as the original answers a cold start."""
    job = waiting.read(job_id)
    outlook = waiting.outlook(job)
    name = spell("sync-", job.id)
    path = f"/api/v1/{route}/status/{name}"
    cold = outlook.phase in ("starting", "downloading", "loading")
    what = "Cold start in progress." if cold else "The job is waiting or running."
    body = {
        "id": name,
        "model": job.model,
        "status": "processing",
        "job_id": name,
        "endpoint_id": job.deployment,
        "poll_url": f"{path}?endpoint_id={job.deployment}&model={job.model}",
        "message": f"{what} Poll the status URL every {RETRY_AFTER_S} seconds.",
        "phase": outlook.phase,
        "queue_position": outlook.queue_position,
        "estimated_time_ms": outlook.estimated_time_ms,
    }
    return JsonResponse(
        body, status=202, headers={"Location": path, "Retry-After": str(RETRY_AFTER_S)}
    )


async def status(request: HttpRequest, job_id: str, kind: Kind, shape: Shape) -> HttpResponseBase:
    """The poll route; the query string of a poll URL is for the reader only."""
    return await hop(status_now, request, job_id, kind, shape)


def status_now(request: HttpRequest, job_id: str, kind: Kind, shape: Shape) -> HttpResponseBase:
    job = find(request, job_id, kind)
    if job.state == Job.State.SUCCEEDED:
        return JsonResponse({**shape(job), "status": "completed", "state": job.state})
    if job.terminal:
        return JsonResponse(
            {
                "id": spell("gen_", job.id),
                "model": job.model,
                "status": job.state,
                "state": job.state,
                "cost": usd(job.cost),
                "error": shown.job_error(job.error).body()["error"],
            }
        )
    outlook = waiting.outlook(job)
    body = {
        "id": spell("sync-", job.id),
        "model": job.model,
        "status": "processing",
        "state": job.state,
        "phase": outlook.phase,
        "queue_position": outlook.queue_position,
        "progress": outlook.progress,
        "estimated_time_ms": outlook.estimated_time_ms,
    }
    return JsonResponse(body, status=202, headers={"Retry-After": str(RETRY_AFTER_S)})


def execution_time_ms(job: Job) -> int:
    """How long the model worked on it, without the queue."""
    if job.started_at is None or job.finished_at is None:
        return 0
    return round((job.finished_at - job.started_at).total_seconds() * 1000)
