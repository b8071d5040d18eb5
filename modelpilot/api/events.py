"""GET /jobs/{id}/events: a job as it happens, to anybody who may see it, as often as they like."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from ninja import Router

from modelpilot.api import jobs, waiting
from modelpilot.api.auth import PERMISSIONS, Key
from modelpilot.api.openapi import sends
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import parts
from modelpilot.jobs.follow import TICK, Position, Subscription, position, reader, spell
from modelpilot.jobs.models import Job
from modelpilot.jobs.parts import Event, Reach

router = Router(tags=["Jobs"])


@router.get(
    "/jobs/{job_id}/events",
    auth=Key(*PERMISSIONS, any_of=True, polling=True),
    summary="Follow a job",
    response={200: None},
    openapi_extra=sends("text/event-stream"),
)
async def follow_job(request: HttpRequest, job_id: str) -> HttpResponseBase:
    """Server-Sent Events: `state`, `delta`, `sound`, `progress`, `preview`, `restart`, and at last
    `end`.

    A `delta` is a piece of text of choice `index`, and of its `part`: `content`, `reasoning`
    (thoughts before the answer), or `call.0`, `call.1`, … (the arguments of a tool call, as JSON;
    `call` has its `id` and `name`). It belongs at its `offset` (in characters) of that part: cut
    there and append, then a repeated piece does no harm. Its `logprobs`, if the request asked for
    them, have an `offset` of their own, in tokens.

    `sound` is a piece of a spoken file (`data` in base64, from the byte `offset` on), for a
    client that waits for speech; `progress` is the `fraction` of the work that is done, `preview`
    what a picture or film looks like so far (`data`, a JPEG in base64). `restart` means that the
    pod died and all so far is void. `end` carries the whole job. Reconnect with `Last-Event-ID`
    to go on where you were; leaving does not cancel the job.
    """
    after = last_event_id(request)
    job = await hop(jobs.find, request, job_id)
    subscription = reader().subscribe(job.id, after=after)
    # Looks at the row at once: the job may be over, and its events forgotten.
    subscription.push(TICK)
    response = StreamingHttpResponse(
        told(request, subscription), content_type="text/event-stream; charset=utf-8"
    )
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def last_event_id(request: HttpRequest) -> Position:
    text = request.headers.get("Last-Event-ID", "0-0")
    try:
        return position(text)
    except ValueError:
        raise ApiError(
            422,
            "invalid_value",
            "A Last-Event-ID is the id of an event that you got, such as 1-42.",
            param="Last-Event-ID",
        ) from None


async def told(request: HttpRequest, subscription: Subscription) -> AsyncIterator[bytes]:
    # How much of each answer this connection has brought.
    reach = Reach()
    async for event in waiting.events(subscription):
        fields = {key: value for key, value in event.items() if key != "type"}
        match event["type"]:
            case "tick":
                yield message("state", await hop(state, subscription), subscription)
            case "end":
                body = await hop(whole, request, subscription)
                for rest in untold(body, reach):
                    del rest["type"]
                    yield message("delta", rest, subscription)
                yield message("end", body, subscription)
            case "delta":
                reach.note(event)
                yield message("delta", fields, subscription)
            case "restart":
                reach = Reach()
                yield message("restart", fields, subscription)
            case name:
                yield message(name, fields, subscription)


def untold(job: dict[str, Any], reach: Reach) -> list[Event]:
    """The ends of the parts that the stream did not bring: the row has the last word."""
    result = job["result"] or {}
    spoken = [{"index": 0, "text": result["text"]}] if "text" in result else ()
    choices = result.get("choices", spoken)
    deltas = [delta for choice in choices for delta in parts.deltas(choice)]
    return [rest for delta in deltas if (rest := reach.rest(delta)) is not None]


def state(subscription: Subscription) -> dict[str, Any]:
    job = Job.objects.get(id=subscription.job)
    outlook = waiting.outlook(job)
    return {
        "state": job.state,
        "phase": outlook.phase,
        "queue_position": outlook.queue_position,
        "estimated_time_ms": outlook.estimated_time_ms,
        "downloaded": outlook.downloaded,
    }


def whole(request: HttpRequest, subscription: Subscription) -> dict[str, Any]:
    return jobs.job_body(request, waiting.read(subscription.job))


def message(name: str, fields: dict[str, Any], subscription: Subscription) -> bytes:
    """One event; its id is that of the last entry which has been told in full."""
    passed = spell(subscription.passed)
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        passed.encode(),
        name.encode(),
        orjson.dumps(fields),
    )
