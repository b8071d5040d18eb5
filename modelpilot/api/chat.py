"""POST /chat/completions, whole and streamed, in the shapes of the OpenAI SDKs."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any, Protocol

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from ninja import Router

from billing.money import usd
from inference.types import Kind
from modelpilot.api import ordering, waiting
from modelpilot.api.auth import Key
from modelpilot.api.jobs import accepted
from modelpilot.api.ordering import Placed
from modelpilot.api.schemas import ChatBody, TextBody
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
    return await respond(request, body, Chat())


class Skin(Protocol):
    """How one of OpenAI's routes for text dresses the same job.

    `prefix` spells the job's id; `whole` and `chunk` are the `object` of a whole answer and of
    a streamed piece.
    """

    route: str
    prefix: str
    whole: str
    chunk: str

    def answer(self, text: str) -> dict[str, Any]:
        """A choice's text in a whole answer."""

    def opening(self) -> dict[str, Any] | None:
        """What the first chunk of a choice says before the model does."""

    def piece(self, text: str) -> dict[str, Any]:
        """A streamed piece; the last one is empty."""


class Chat:
    route = "chat/completions"
    prefix = "chatcmpl-"
    whole = "chat.completion"
    chunk = "chat.completion.chunk"

    def answer(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def opening(self) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": ""}}

    def piece(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text} if text else {}}


async def respond(request: HttpRequest, body: TextBody, skin: Skin) -> HttpResponseBase:
    """The answer to a request for text: whole, streamed, or as a job."""
    later = waiting.prefers_async(request)
    placed = await ordering.place(
        request,
        route=skin.route,
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
        response = await stream(placed, body, skin)
    else:
        await waiting.finished_or_cancelled(placed.subscription)
        response = completion(await hop(outcome.read, placed.id), skin)
    return placed.marked(response)


def completion(job: Outcome, skin: Skin) -> HttpResponseBase:
    """The whole answer; ApiError for a job that did not succeed."""
    if not job.succeeded:
        raise failure(job)
    answer = {
        **head(skin.prefix, skin.whole, job.id, job.model, job.deployment),
        "choices": [
            {
                "index": choice["index"],
                **skin.answer(choice["text"]),
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


def head(prefix: str, kind: str, job: uuid.UUID, model: str, deployment: str) -> dict[str, Any]:
    return {
        "id": spell(prefix, job),
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


async def stream(placed: Placed, body: TextBody, skin: Skin) -> HttpResponseBase:
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
        Chunks(placed, body, skin).encoded(), content_type="text/event-stream; charset=utf-8"
    )
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


class Chunks:
    """One streamed completion: what has been sent, and how to say the rest."""

    def __init__(self, placed: Placed, body: TextBody, skin: Skin) -> None:
        self.skin = skin
        self.subscription = placed.subscription
        self.job = placed.id
        serving = placed.serving
        self.head = head(skin.prefix, skin.chunk, self.job, serving.model, serving.id)
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
            if not self.subscription.events:
                # Nothing in BEGIN_S: say why, and do not leave that to the next tick.
                yield await hop(self.comment)
            async for event in waiting.events(self.subscription):
                match event["type"]:
                    case "delta":
                        # Together: each part that is sent costs, however small.
                        if new := self.delta(event["index"], event["offset"], event["text"]):
                            yield b"".join(new)
                    case "tick":
                        yield await hop(self.comment)
            over = True
            yield b"".join(self.ending(await hop(outcome.read, self.job)))
        finally:
            if not over:
                waiting.cancel_detached(self.job)

    def delta(self, index: int, offset: int, text: str) -> list[bytes]:
        """The part of a delta that was not sent before."""
        new = text[max(0, self.sent[index] - offset) :]
        if not new:
            return []
        self.sent[index] += len(new)
        return [*self.opening(), self.chunk(self.skin.piece(new), index)]

    def opening(self) -> list[bytes]:
        """The first chunk of each choice, where the route has one: a chat's carries the role."""
        opening = None if self.begun else self.skin.opening()
        self.begun = True
        return [] if opening is None else [self.chunk(opening, i) for i in range(self.choices)]

    def ending(self, job: Outcome) -> list[bytes]:
        """What remains once the job has ended: the row has the last word."""
        if not job.succeeded:
            return [data(failure(job).body())]
        chunks = self.opening()
        for choice in job.result["choices"]:
            index = choice["index"]
            chunks += self.delta(index, 0, choice["text"])
            end = self.skin.piece("")
            chunks.append(
                self.chunk(end, index, choice["finish_reason"], x_modelpilot=particulars(job))
            )
        if self.include_usage:
            chunks.append(data({**self.head, "choices": [], "usage": job.result["usage"]}))
        return [*chunks, DONE]

    def chunk(
        self, piece: dict[str, Any], index: int, finish_reason: str | None = None, **more: Any
    ) -> bytes:
        choice = {
            "index": index,
            **piece,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return data({**self.head, "choices": [choice], **more})

    def comment(self) -> bytes:
        """A comment line that keeps the connection open and says what it waits for."""
        outlook = waiting.outlook(waiting.read(self.job))
        place = f", position {outlook.queue_position}" if outlook.queue_position else ""
        left_s = round(outlook.estimated_time_ms / 1000)
        return f": {outlook.phase}{place}, about {left_s} s\n\n".encode()


def data(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
