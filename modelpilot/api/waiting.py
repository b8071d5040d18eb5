"""Waiting for a job without holding a thread: subscribe, submit, then listen."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from django.http import HttpRequest

from inference.types import Kind
from modelpilot.errors import ApiError
from modelpilot.fleet import deployments, eta, facts
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.deployments import Serving
from modelpilot.hop import hop
from modelpilot.jobs import stream
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.follow import TICK, Subscription
from modelpilot.jobs.models import Job
from modelpilot.jobs.parts import Event
from modelpilot.jobs.queue import position
from modelpilot.jobs.stream import END

OPENAI_WAIT_S = 600.0
LONGEST_WAIT_S = 60.0


def preferred_wait(request: HttpRequest, default: float) -> float:
    """Seconds that the client wants to wait, from `Prefer` (RFC 7240), at most 60."""
    if prefers_async(request):
        return 0.0
    wait = re.search(r"(^|[,\s])wait\s*=\s*\"?(\d{1,6})", request.headers.get("Prefer", ""))
    return min(float(wait[2]), LONGEST_WAIT_S) if wait else default


def prefers_async(request: HttpRequest) -> bool:
    return bool(re.search(r"(^|[,\s])respond-async\b", request.headers.get("Prefer", "")))


async def events(subscription: Subscription) -> AsyncIterator[Event]:
    """The job's events up to its end, with a `tick` every few seconds without one.

    The row is asked on each tick, so an event that was lost delays the end, no more.
    """
    while True:
        event = await subscription.get()
        if event == TICK and await hop(is_over, subscription.job):
            event = END
        yield event
        if event == END:
            return


def is_over(job: uuid.UUID) -> bool:
    return Job.objects.only("state").get(id=job).terminal


async def over_already(subscription: Subscription, wait_s: float) -> bool:
    """Whether the job ends within `wait_s` without having produced anything before."""
    try:
        async with asyncio.timeout(wait_s):
            while True:
                await subscription.wait()
                if subscription.peek() != TICK:
                    return subscription.peek() == END
                await subscription.get()
                if await hop(is_over, subscription.job):
                    subscription.push(END)
    except TimeoutError:
        return False


async def finished(subscription: Subscription, wait_s: float) -> bool:
    """Whether the job ends within `wait_s`."""
    try:
        async with asyncio.timeout(wait_s):
            async for _ in events(subscription):
                pass
    except TimeoutError:
        return False
    return True


def read(job: uuid.UUID) -> Job:
    return Job.objects.prefetch_related("outputs").get(id=job)


# Tasks that nobody awaits; the loop itself keeps only weak references to them.
detached: set[asyncio.Task[None]] = set()


def cancel_detached(job: uuid.UUID) -> None:
    """Cancel a job from a request that is itself being cancelled."""
    task = asyncio.create_task(hop(cancel, job))
    detached.add(task)
    task.add_done_callback(detached.discard)


async def finished_or_cancelled(subscription: Subscription) -> None:
    """Wait as OpenAI routes do: a client that goes, or the end of patience, cancels the job."""
    await first_or_cancelled(subscription, lambda event: event == END)


async def first_or_cancelled(subscription: Subscription, wanted: Callable[[Event], bool]) -> Event:
    """The first wanted event, waited for as OpenAI routes do; the end must be wanted too."""
    try:
        async with asyncio.timeout(OPENAI_WAIT_S):
            async for event in events(subscription):
                if wanted(event):
                    return event
    except asyncio.CancelledError:
        cancel_detached(subscription.job)
        raise
    except TimeoutError:
        await hop(cancel, subscription.job)
    raise ApiError(
        503,
        "timeout",
        "The model did not answer in time and the request was cancelled. Try again.",
        type="server_error",
        headers={"Retry-After": "30"},
    )


@dataclass(frozen=True, slots=True)
class Outlook:
    """Where a live job stands: `phase` in words, place in the queue (1 is next), time to go,
    and how much of the model's weights is downloaded, where that is what it waits for."""

    phase: str
    queue_position: int | None
    progress: float
    estimated_time_ms: int
    downloaded: float | None = None


def outlook(job: Job) -> Outlook:
    serving = deployments.serving(job.model)
    if job.state == Job.State.QUEUED:
        place = position(job)
        downloaded = serving.progress if serving else None
        ahead_ms = queued_ms(serving, place)
        return Outlook(waiting_phase(serving), place, 0.0, ahead_ms, downloaded)
    usual_ms = run_seconds(job.model, serving) * 1000
    elapsed_ms = 0 if job.started_at is None else (time.time() - job.started_at.timestamp()) * 1000
    left_ms = max(usual_ms - elapsed_ms, usual_ms * eta.LATE)
    if job.kind in (Kind.IMAGE, Kind.VIDEO, Kind.TRANSCRIPTION):
        # The engine counts its steps, or seconds; the last one is not yet the end.
        progress = min(0.99, stream.progress(job.id) or 0.0)
        if progress:
            left_ms = elapsed_ms * (1 - progress) / progress
    else:
        progress = min(0.99, elapsed_ms / max(usual_ms, 1))
    return Outlook("running", None, round(progress, 2), round(left_ms))


def waiting_phase(serving: Serving | None) -> str:
    if serving is None or serving.phase is None:
        return "starting"
    return "queued" if serving.warm else serving.phase


def queued_ms(serving: Serving | None, place: int) -> int:
    """Until the job in that place has ended: as measured here, else as the card reckons."""
    ahead = eta.outlook(serving.id, facts.gather()) if serving else None
    return round(ahead.seconds(place) * 1000) if ahead else 0


def run_seconds(model: str, serving: Serving | None) -> float:
    if serving is not None and serving.run_seconds is not None:
        return serving.run_seconds
    card = cards().find(model)
    return card.run_seconds if card else 0.0
