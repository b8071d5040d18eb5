"""POST /completions: OpenAI's older route, which continues a text without a chat template."""

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from modelpilot.api import chat
from modelpilot.api.auth import Key
from modelpilot.api.schemas import CompletionBody

router = Router(tags=["OpenAI-compatible"])


@router.post("/completions", auth=Key("read", "proxy"), summary="Create a completion")
async def create_completion(request: HttpRequest, body: CompletionBody) -> HttpResponseBase:
    """Continue a text, as it stands. `stream` and `Prefer: respond-async` are as in a chat."""
    return await chat.respond(request, body, Completion(body.prompt if body.echo else ""))


class Completion:
    """The texts alone, each after `repeated`: the prompt, if the request wants it back."""

    route = "completions"
    prefix = "cmpl-"
    whole = chunk = "text_completion"

    def __init__(self, repeated: str) -> None:
        self.repeated = repeated

    def answer(self, text: str) -> dict[str, Any]:
        return {"text": self.repeated + text}

    def opening(self) -> dict[str, Any] | None:
        return {"text": self.repeated} if self.repeated else None

    def piece(self, text: str) -> dict[str, Any]:
        return {"text": text}
