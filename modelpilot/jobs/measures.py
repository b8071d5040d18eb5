"""How much of what prices count a request can be at most, and has been.

Nobody can count tokens where requests are accepted: that takes the model. But a token stands for
a byte of text at least, so the bytes are the bound; what a chat template adds, by itself and
around each message, is reckoned with generously, as no more is charged than there was.
"""

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

from billing.pricing import Measures
from inference.catalog import Card

# Tokens: a message's role and end (at most 7 in the templates that we know), and what stands
# before all of them, such as today's date or how to call tools (some 150).
PER_MESSAGE = 16
PER_CHAT = 256


def at_most(card: Card, request: dict[str, Any]) -> Measures:
    """The largest that `request` (as `inference.types` has it) can come to."""
    asked = of_request(card.kind, request)
    context = card.context or 0
    match str(card.kind):
        case "text":
            longest = min(request.get("max_tokens") or context, context)
            return replace(
                asked,
                input_tokens=min(prompt_at_most(card, request), context),
                output_tokens=longest * asked.requests,
            )
        case "embedding":
            each = (min(octets(text) + PER_MESSAGE, context) for text in request["inputs"])
            return replace(asked, input_tokens=sum(each))
        case "transcription":
            # Longer recordings are refused, and nobody opens one before the model does.
            return replace(asked, audio_seconds=Fraction(card.max_seconds or 0))
        case _:
            return asked


def prompt_at_most(card: Card, request: dict[str, Any]) -> int:
    """Tokens of the prompt; each of its texts is read once, however many answers there are."""
    if request.get("prompt") is not None:
        return octets(request["prompt"]) + PER_MESSAGE
    messages = request.get("messages") or []
    # Some templates and engines show the model what it may call and what it must answer with.
    shown = [request[name] for name in ("tools", "response_format") if request.get(name)]
    return (
        PER_CHAT
        + PER_MESSAGE * (len(messages) + 1)
        + octets(card.options.get("system"))
        + sum(map(said, messages))
        + sum(map(written, shown))
    )


def said(message: dict[str, Any]) -> int:
    """Bytes of a message: its text, and what else there is, such as calls of tools."""
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    content = message.get("content")
    text = octets(content) if isinstance(content, str | None) else written(content)
    return text + (written(rest) if rest else 0)


def written(value: Any) -> int:
    """Bytes of JSON, as widely as any template writes it: indented, and with escapes."""
    return len(json.dumps(value, indent=4))


def octets(text: str | None) -> int:
    # A half of a surrogate pair is three bytes, like what tokenizers read in its place.
    return len((text or "").encode("utf-8", "surrogatepass"))


def of_request(kind: str, request: dict[str, Any]) -> Measures:
    """What the request says itself; of tokens that is nothing yet."""
    return Measures(
        requests=request.get("n") or 1,
        pixels=(request.get("width") or 0) * (request.get("height") or 0),
        steps=request.get("steps") or 0,
        video_seconds=Fraction(request.get("num_frames") or 0, request.get("fps") or 1),
        characters=len(request.get("text") or "") if kind == "audio" else 0,
    )


def of_result(kind: str, request: dict[str, Any], result: dict[str, Any]) -> Measures:
    """What a request came to: what it said itself, and what was counted meanwhile."""
    asked = of_request(kind, request)
    if kind == "transcription":
        return replace(asked, audio_seconds=Fraction(str(result.get("duration_s") or 0)))
    usage = result.get("usage") or {}
    prompt = usage.get("prompt_tokens") or 0
    cached = min((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0, prompt)
    return replace(
        asked,
        input_tokens=prompt - cached,
        cached_input_tokens=cached,
        output_tokens=usage.get("completion_tokens") or 0,
    )
