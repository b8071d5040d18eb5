"""Requests to copy, with addresses and models that exist here."""

import json
from typing import Any

from django.conf import settings

from inference.catalog import Card
from inference.types import Kind
from modelpilot.fleet import deployments
from modelpilot.fleet.catalog import cards

API = f"{settings.SITE_URL}/api/v1"
KEY = "$MODELPILOT_KEY"
# The simplest route of each kind, and what is asked of it.
ASKED: dict[str, tuple[str, str]] = {
    Kind.TEXT: ("chat/completions", "Hello!"),
    Kind.IMAGE: ("generate/image", "a red apple on a white background"),
    Kind.VIDEO: ("generate/video", "a fox drifting to the left"),
    Kind.AUDIO: ("audio/speech", "Hello, and welcome."),
    Kind.EMBEDDING: ("embeddings", "Which shop sells apples?"),
}


def sample(key: str = KEY) -> str:
    """A first request by curl."""
    return curl(Kind.TEXT, usual_models()[Kind.TEXT], key=key)


def usual_models() -> dict[str, str]:
    """Of each kind the first that is served here, else the first of the catalog."""
    served = {each.model for each in deployments.all_serving() if each.running}
    found: dict[str, str] = {}
    for kind in Kind:
        mine = [card.id for card in cards().cards.values() if card.kind is kind]
        found[kind] = next((each for each in mine if each in served), mine[0] if mine else "MODEL")
    return found


def curl_of(card: Card) -> str:
    """A request of this model by curl."""
    if card.kind is Kind.TRANSCRIPTION:
        return (
            f"curl {API}/audio/transcriptions \\\n"
            f'  -H "Authorization: Bearer {KEY}" \\\n'
            f"  -F model={card.id} -F file=@recording.wav"
        )
    return curl(card.kind, card.id)


def curl(kind: Kind, model: str, words: str = "", key: str = KEY) -> str:
    """A request of a model by its simplest route, in lines that fit half a page."""
    route, usual = ASKED[kind]
    body = {"model": model, **what(kind, words or usual)}
    fields = ",\n".join(f"    {json.dumps(name)}: {written(body[name])}" for name in body)
    saved = " \\\n  -o speech.mp3" if kind is Kind.AUDIO else ""
    return (
        f"curl {API}/{route} \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{{\n{fields}\n  }}'{saved}"
    )


def written(value: Any) -> str:
    """JSON with a line for each part of a list."""
    if not isinstance(value, list):
        return json.dumps(value)
    parts = ",\n".join(f"      {json.dumps(part)}" for part in value)
    return f"[\n{parts}\n    ]"


def what(kind: Kind, words: str) -> dict[str, Any]:
    """The words, in the field of the route that takes them."""
    match kind:
        case Kind.TEXT:
            return {"messages": [{"role": "user", "content": words}]}
        case Kind.IMAGE | Kind.VIDEO:
            return {"prompt": words}
        case _:
            return {"input": words}
