"""POST /completions: OpenAI's older route, which continues a text without a chat template."""

from itertools import accumulate
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from modelpilot.api import chat
from modelpilot.api.answers import openai as answers
from modelpilot.api.answers.jobs import Job
from modelpilot.api.auth import Key
from modelpilot.api.openapi import sends
from modelpilot.api.text import CompletionBody
from modelpilot.jobs.parts import Event, Logprobs

router = Router(tags=["OpenAI-compatible"])


@router.post(
    "/completions",
    auth=Key("read", "proxy"),
    summary="Create a completion",
    response={200: answers.Completion, 202: Job},
    openapi_extra=sends("text/event-stream"),
)
async def create_completion(request: HttpRequest, body: CompletionBody) -> HttpResponseBase:
    """Continue a text, as it stands. `stream` and `Prefer: respond-async` are as in a chat."""
    repeated = body.prompt if body.echo else ""
    return await chat.respond(request, body, Completion(repeated, ranked=bool(body.logprobs)))


class Completion:
    """The texts alone, each after `repeated`: the prompt, if the request wants it back.

    With `ranked`, the log probabilities have the likeliest tokens at each place too.
    """

    route = "completions"
    prefix = "cmpl-"
    whole = chunk = "text_completion"

    def __init__(self, repeated: str, *, ranked: bool) -> None:
        self.repeated = repeated
        self.ranked = ranked

    def answer(self, choice: dict[str, Any]) -> dict[str, Any]:
        logprobs = choice.get("logprobs")
        return {
            "text": self.repeated + choice["text"],
            "logprobs": logprobs and self.columns(logprobs["content"], 0),
        }

    def opening(self, part: str) -> dict[str, Any] | None:
        return {"text": self.repeated, "logprobs": None} if self.repeated else None

    def naming(self, number: int, call: dict[str, str]) -> dict[str, Any]:
        raise AssertionError("bare text calls no tools")

    def piece(self, delta: Event) -> dict[str, Any]:
        logprobs = delta.get("logprobs")
        return {
            "text": delta["text"],
            "logprobs": logprobs and self.columns(logprobs["content"], delta["offset"]),
        }

    def closing(self) -> dict[str, Any]:
        return {"text": "", "logprobs": None}

    def columns(self, tokens: Logprobs, offset: int) -> dict[str, Any]:
        """Log probabilities in this route's older shape; the first token's text begins at
        `offset`."""
        ends = accumulate((len(token["token"]) for token in tokens), initial=offset)
        return {
            "tokens": [token["token"] for token in tokens],
            "token_logprobs": [token["logprob"] for token in tokens],
            "top_logprobs": [
                {other["token"]: other["logprob"] for other in token["top_logprobs"]}
                for token in tokens
            ]
            if self.ranked
            else None,
            "text_offset": [start for start, _ in zip(ends, tokens, strict=False)],
        }
