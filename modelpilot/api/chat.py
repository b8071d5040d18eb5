"""POST /chat/completions, whole and streamed, in the shapes of the OpenAI SDKs."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from ninja import Router

from billing.money import usd
from inference.types import Kind
from modelpilot.api import ordering, waiting
from modelpilot.api.auth import Key
from modelpilot.api.jobs import accepted
from modelpilot.api.ordering import Placed
from modelpilot.api.schemas import ChatBody
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import outcome, shown
from modelpilot.jobs.ids import created, spell
from modelpilot.jobs.outcome import Outcome

router = Router(tags=["OpenAI-compatible"])

# The stream begins after this long even if nothing has happened yet; what fails sooner
# still gets its own status.
BEGIN_S = 2.0
DONE = b"data: [DONE]\n\n"


@router.post("/chat/completions", auth=Key("read", "proxy"), summary="Create a chat completion")
async def create_chat_completion(request: HttpRequest, body: ChatBody) -> HttpResponseBase:
    """Continue a conversation. With `stream: true` the answer comes as Server-Sent Events, and
    with the header `Prefer: respond-async` as a job to look at later."""
    later = waiting.prefers_async(request)
    placed = await ordering.place(
        request,
        route="chat/completions",
        kind=Kind.TEXT,
        permission="proxy",
        model=body.model,
        body=body.request(),
        stream=bool(body.stream) and not later,
        watched=not later,
        webhook=body.webhook,
        max_cost=body.max_cost,
    )
    if later:
        response = await hop(accepted, request, placed.id)
    elif body.stream:
        response = await stream(placed, body)
    else:
        await waiting.finished_or_cancelled(placed.subscription)
        response = completion(await hop(outcome.read, placed.id))
    return placed.marked(response)


def completion(job: Outcome) -> HttpResponseBase:
    """The whole answer; ApiError for a job that did not succeed."""
    if not job.succeeded:
        raise failure(job)
    answer = {
        **head("chat.completion", job.id, job.model, job.deployment),
        "choices": [
            {
                "index": choice["index"],
                "message": {"role": "assistant", "content": choice["text"], "refusal": None},
                "logprobs": None,
                "finish_reason": choice["finish_reason"],
            }
            for choice in job.result["choices"]
        ],
        "usage": job.result["usage"],
        "x_modelpilot": particulars(job),
    }
    return HttpResponse(orjson.dumps(answer), content_type="application/json")


def failure(job: Outcome) -> ApiError:
    """Why there is no answer, and what it cost all the same: a cancelled job may have said
    something, which `GET /jobs/{id}` shows."""
    return shown.job_error(job.error, job_id=str(job.id), cost=usd(job.cost))


def head(kind: str, job: uuid.UUID, model: str, deployment: str) -> dict[str, Any]:
    return {
        "id": spell("chatcmpl-", job),
        "object": kind,
        "created": created(job),
        "model": model,
        "system_fingerprint": f"modelpilot-{deployment}",
    }


def particulars(job: Outcome) -> dict[str, Any]:
    """What we add to OpenAI's answer."""
    finished = job.finished_at or job.created_at
    return {
        "deployment_id": job.deployment,
        "model_identifier": job.model,
        "response_time_ms": round((finished - job.created_at).total_seconds() * 1000),
        "direct_endpoint": None,
        "cost": usd(job.cost),
        "job_id": str(job.id),
    }


async def stream(placed: Placed, body: ChatBody) -> HttpResponseBase:
    """Begin a stream, unless the job fails before there is anything to send."""
    try:
        over = await waiting.over_already(placed.subscription, BEGIN_S)
        ended = await hop(outcome.read, placed.id) if over else None
    except asyncio.CancelledError:
        waiting.cancel_detached(placed.id)
        raise
    if ended is not None and not ended.succeeded:
        raise failure(ended)
    response = StreamingHttpResponse(
        Chunks(placed, body).encoded(), content_type="text/event-stream; charset=utf-8"
    )
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


class Chunks:
    """One streamed completion: what has been sent, and how to say the rest."""

    def __init__(self, placed: Placed, body: ChatBody) -> None:
        self.subscription = placed.subscription
        self.job = placed.id
        serving = placed.serving
        self.head = head("chat.completion.chunk", self.job, serving.model, serving.id)
        self.choices = body.n or 1
        self.include_usage = bool(body.stream_options and body.stream_options.include_usage)
        if self.include_usage:
            self.head["usage"] = None
        # Characters sent of each choice; deltas name their offset, so none is sent twice.
        self.sent = [0] * self.choices
        self.begun = False

    async def encoded(self) -> AsyncIterator[bytes]:
        """Server-Sent Events. A client that stops reading cancels the job."""
        over = False
        try:
            async for event in waiting.events(self.subscription):
                match event["type"]:
                    case "delta":
                        for chunk in self.delta(event["index"], event["offset"], event["text"]):
                            yield chunk
                    case "tick":
                        yield await hop(self.comment)
            over = True
            for chunk in self.ending(await hop(outcome.read, self.job)):
                yield chunk
        finally:
            if not over:
                waiting.cancel_detached(self.job)

    def delta(self, index: int, offset: int, text: str) -> list[bytes]:
        """The part of a delta that was not sent before."""
        new = text[max(0, self.sent[index] - offset) :]
        if not new:
            return []
        self.sent[index] += len(new)
        return [*self.opening(), self.chunk({"content": new}, index)]

    def opening(self) -> list[bytes]:
        """The first chunk of each choice carries the role."""
        if self.begun:
            return []
        self.begun = True
        return [
            self.chunk({"role": "assistant", "content": ""}, index) for index in range(self.choices)
        ]

    def ending(self, job: Outcome) -> list[bytes]:
        """What remains once the job has ended: the row has the last word."""
        if not job.succeeded:
            return [data(failure(job).body())]
        chunks = self.opening()
        for choice in job.result["choices"]:
            index = choice["index"]
            chunks += self.delta(index, 0, choice["text"])
            chunks.append(
                self.chunk({}, index, choice["finish_reason"], x_modelpilot=particulars(job))
            )
        if self.include_usage:
            chunks.append(data({**self.head, "choices": [], "usage": job.result["usage"]}))
        return [*chunks, DONE]

    def chunk(
        self, delta: dict[str, str], index: int, finish_reason: str | None = None, **more: Any
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return data({**self.head, "choices": [choice], **more})

    def comment(self) -> bytes:
        """A comment line that keeps the connection open and says what it waits for."""
        outlook = waiting.outlook(waiting.read(self.job))
        place = f", position {outlook.queue_position}" if outlook.queue_position else ""
        return f": {outlook.phase}{place}\n\n".encode()


def data(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
