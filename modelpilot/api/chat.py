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
from modelpilot.api.answers.jobs import Job as JobAnswer
from modelpilot.api.answers.openai import ChatCompletion
from modelpilot.api.auth import Key
from modelpilot.api.jobs import accepted
from modelpilot.api.openapi import sends
from modelpilot.api.ordering import Placed
from modelpilot.api.text import ChatBody, TextBody
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import outcome, parts, shown
from modelpilot.jobs.ids import created, spell
from modelpilot.jobs.outcome import Outcome
from modelpilot.jobs.parts import Event, Reach

router = Router(tags=["OpenAI-compatible"])

# The stream begins after this long even if nothing has happened yet; what fails sooner
# still gets its own status.
BEGIN_S = 2.0
DONE = b"data: [DONE]\n\n"


@router.post(
    "/chat/completions",
    auth=Key("read", "proxy"),
    summary="Create a chat completion",
    response={200: ChatCompletion, 202: JobAnswer},
    openapi_extra=sends("text/event-stream"),
)
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

    def answer(self, choice: dict[str, Any]) -> dict[str, Any]:
        """A choice of a whole answer, of the one in `inference.types.Result`."""

    def opening(self, part: str) -> dict[str, Any] | None:
        """What the first chunk of a choice says, before the first piece, which is of `part`."""

    def naming(self, number: int, call: dict[str, str]) -> dict[str, Any]:
        """The first chunk of a tool call."""

    def piece(self, delta: Event) -> dict[str, Any]:
        """A streamed piece."""

    def closing(self) -> dict[str, Any]:
        """What the last chunk of a choice says."""


class Chat:
    route = "chat/completions"
    prefix = "chatcmpl-"
    whole = "chat.completion"
    chunk = "chat.completion.chunk"

    def answer(self, choice: dict[str, Any]) -> dict[str, Any]:
        calls = choice.get("tool_calls")
        content = choice["text"] or (None if calls else "")
        message = {"role": "assistant", "content": content, "refusal": None}
        if choice.get("reasoning"):
            message["reasoning_content"] = choice["reasoning"]
        if calls:
            message["tool_calls"] = calls
        logprobs = choice.get("logprobs")
        return {"message": message, "logprobs": logprobs and {**logprobs, "refusal": None}}

    def opening(self, part: str) -> dict[str, Any]:
        content = "" if part == "content" else None
        return {"delta": {"role": "assistant", "content": content}, "logprobs": None}

    def naming(self, number: int, call: dict[str, str]) -> dict[str, Any]:
        head = {
            "index": number,
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": ""},
        }
        return {"delta": {"tool_calls": [head]}, "logprobs": None}

    def piece(self, delta: Event) -> dict[str, Any]:
        text = delta["text"]
        match delta["part"]:
            case "content":
                logprobs = delta.get("logprobs")
                return {
                    "delta": {"content": text},
                    "logprobs": logprobs and {"content": logprobs["content"], "refusal": None},
                }
            case "reasoning":
                return {"delta": {"reasoning_content": text}, "logprobs": None}
            case call:
                said = {"index": number_of(call), "function": {"arguments": text}}
                return {"delta": {"tool_calls": [said]}, "logprobs": None}

    def closing(self) -> dict[str, Any]:
        return {"delta": {}, "logprobs": None}


def number_of(part: str) -> int:
    """Which of the answer's calls the part "call.N" is."""
    return int(part.removeprefix("call."))


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
    return response


def completion(job: Outcome, skin: Skin) -> HttpResponseBase:
    """The whole answer; ApiError for a job that did not succeed."""
    if not job.succeeded:
        raise failure(job)
    answer = {
        **head(skin.prefix, skin.whole, job.id, job.model, job.deployment),
        "choices": [
            {
                "index": choice["index"],
                **skin.answer(choice),
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
        self.include_usage = bool(body.stream_options and body.stream_options.include_usage)
        if self.include_usage:
            self.head["usage"] = None
        # How much was sent; deltas name their offset, so nothing is sent twice.
        self.reach = Reach()
        # The choices that have had their first chunk.
        self.begun: set[int] = set()

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
                        if new := self.delta(event):
                            yield b"".join(new)
                    case "tick":
                        yield await hop(self.comment)
            over = True
            yield b"".join(self.ending(await hop(outcome.read, self.job)))
        finally:
            if not over:
                waiting.cancel_detached(self.job)

    def delta(self, event: Event) -> list[bytes]:
        """The part of a delta that was not sent before."""
        new = self.reach.rest(event)
        if new is None:
            return []
        index, part = new["index"], new["part"]
        chunks = self.opening(index, part)
        if "call" in new and (index, part) not in self.reach.parts:
            chunks.append(self.chunk(index, self.skin.naming(number_of(part), new["call"])))
        self.reach.note(new)
        if new["text"] or "logprobs" in new:
            chunks.append(self.chunk(index, self.skin.piece(new)))
        return chunks

    def opening(self, index: int, part: str) -> list[bytes]:
        """The first chunk of a choice, where the route has one: a chat's carries the role."""
        if index in self.begun:
            return []
        self.begun.add(index)
        opening = self.skin.opening(part)
        return [] if opening is None else [self.chunk(index, opening)]

    def ending(self, job: Outcome) -> list[bytes]:
        """What remains once the job has ended: the row has the last word."""
        if not job.succeeded:
            return [data(failure(job).body())]
        chunks = []
        for choice in job.result["choices"]:
            index = choice["index"]
            for delta in parts.deltas(choice):
                chunks += self.delta(delta)
            # Of an answer without a word.
            chunks += self.opening(index, "content")
            end = self.skin.closing()
            chunks.append(
                self.chunk(index, end, choice["finish_reason"], x_modelpilot=particulars(job))
            )
        if self.include_usage:
            chunks.append(data({**self.head, "choices": [], "usage": job.result["usage"]}))
        return [*chunks, DONE]

    def chunk(
        self, index: int, piece: dict[str, Any], finish_reason: str | None = None, **more: Any
    ) -> bytes:
        choice = {"index": index, **piece, "finish_reason": finish_reason}
        return data({**self.head, "choices": [choice], **more})

    def comment(self) -> bytes:
        """A comment line that keeps the connection open and says what it waits for."""
        outlook = waiting.outlook(waiting.read(self.job))
        place = f", position {outlook.queue_position}" if outlook.queue_position else ""
        left_s = round(outlook.estimated_time_ms / 1000)
        return f": {outlook.phase}{place}, about {left_s} s\n\n".encode()


def data(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
