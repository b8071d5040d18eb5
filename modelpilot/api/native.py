"""What all /generate routes share: a wait, then the result or a poll URL; and polling."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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

# What the original's poll routes call a job's states.
STATUSES: dict[str, str] = {
    Job.State.QUEUED: "processing",
    Job.State.RUNNING: "processing",
    Job.State.SUCCEEDED: "completed",
    Job.State.FAILED: "failed",
    Job.State.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Skin:
    """How one of the original's routes dresses a job.

    `answer` is the body of a job that has succeeded. The prefixes spell the job's id: as the
    thing that was made, as the thing that is being made, and as what is polled.
    """

    route: str
    kind: Kind
    answer: Callable[[Job], dict[str, Any]]
    made: str = "gen_"
    making: str = "sync-"
    polled: str = "sync-"
    statuses: Mapping[str, str] = field(default_factory=lambda: STATUSES)
    # What a poll URL passes on, beside the names that are for its reader only.
    query: str = ""


async def generate(
    request: HttpRequest,
    skin: Skin,
    *,
    model: str,
    body: dict[str, Any],
    wait_s: float,
    webhook: str | None = None,
    max_cost: float | None = None,
) -> HttpResponseBase:
    """Record a job and wait for it as long as the client likes; leaving does not cancel it."""
    placed = await ordering.place(
        request,
        route=skin.route,
        kind=skin.kind,
        permission="generate",
        model=model,
        body=body,
        webhook=webhook,
        max_cost=max_cost,
    )
    over = await waiting.finished(placed.subscription, wait_s)
    return await hop(finished if over else accepted, placed.id, skin)


def finished(job_id: uuid.UUID, skin: Skin) -> HttpResponseBase:
    """200, or the error of a job that did not succeed."""
    job = waiting.read(job_id)
    if failure := shown.failure(job):
        raise failure
    return JsonResponse(skin.answer(job))


def accepted(job_id: uuid.UUID, skin: Skin) -> HttpResponseBase:
    """202, as the original answers a cold start."""
    job = waiting.read(job_id)
    outlook = waiting.outlook(job)
    name = spell(skin.polled, job.id)
    path = f"/api/v1/{skin.route}/status/{name}"
    cold = outlook.phase in ("starting", "downloading", "loading")
    what = "Cold start in progress." if cold else "The job is waiting or running."
    body = {
        "id": spell(skin.making, job.id),
        "model": job.model,
        "status": "processing",
        "job_id": name,
        "endpoint_id": job.deployment,
        "poll_url": f"{path}?endpoint_id={job.deployment}&model={job.model}{skin.query}",
        "message": f"{what} Poll the status URL every {RETRY_AFTER_S} seconds.",
        "phase": outlook.phase,
        "queue_position": outlook.queue_position,
        "estimated_time_ms": outlook.estimated_time_ms,
        # The most that it can cost.
        "cost": usd(job.price),
    }
    return JsonResponse(
        body, status=202, headers={"Location": path, "Retry-After": str(RETRY_AFTER_S)}
    )


async def status(request: HttpRequest, job_id: str, skin: Skin) -> HttpResponseBase:
    """The poll route."""
    return await hop(status_now, request, job_id, skin)


def status_now(request: HttpRequest, job_id: str, skin: Skin) -> HttpResponseBase:
    job = find(request, job_id, skin.kind)
    said = {"status": skin.statuses[job.state], "state": job.state}
    if job.state == Job.State.SUCCEEDED:
        if failure := shown.failure(job):
            raise failure
        return JsonResponse({**skin.answer(job), **said})
    if job.terminal:
        return JsonResponse(
            {
                "id": spell(skin.made, job.id),
                "model": job.model,
                **said,
                "cost": usd(job.cost),
                "error": shown.job_error(job.error).body()["error"],
            }
        )
    outlook = waiting.outlook(job)
    body = {
        "id": spell(skin.making, job.id),
        "model": job.model,
        **said,
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
