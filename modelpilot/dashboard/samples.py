"""Requests to copy, with addresses and models that exist here."""

import json
from typing import Any

from django.conf import settings

from inference.catalog import Card
from inference.types import Kind
from modelpilot.fleet.catalog import cards

API = f"{settings.SITE_URL}/api/v1"
KEY = "$MODELPILOT_KEY"
# What each kind of model is asked, by its simplest route.
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    Kind.TEXT: ("chat/completions", {"messages": [{"role": "user", "content": "Hello!"}]}),
    Kind.IMAGE: ("generate/image", {"prompt": "a red apple on a white background"}),
    Kind.VIDEO: ("generate/video", {"prompt": "a fox drifting to the left"}),
    Kind.AUDIO: ("audio/speech", {"input": "Hello, and welcome."}),
    Kind.EMBEDDING: ("embeddings", {"input": "Which shop sells apples?"}),
}


def sample(key: str = KEY) -> str:
    """A first request by curl, of the first model of text that the catalog has."""
    model = next((card.id for card in cards().cards.values() if card.kind == "text"), "MODEL")
    return curl(*asked(Kind.TEXT, model), key)


def curl_of(card: Card) -> str:
    """A request of this model by curl."""
    if card.kind is Kind.TRANSCRIPTION:
        return (
            f"curl {API}/audio/transcriptions \\\n"
            f'  -H "Authorization: Bearer {KEY}" \\\n'
            f"  -F model={card.id} -F file=@recording.wav"
        )
    saved = " \\\n  -o speech.mp3" if card.kind is Kind.AUDIO else ""
    return curl(*asked(card.kind, card.id)) + saved


def asked(kind: str, model: str) -> tuple[str, dict[str, Any]]:
    route, body = ASKED[kind]
    return route, {"model": model, **body}


def curl(route: str, body: dict[str, Any], key: str = KEY) -> str:
    return (
        f"curl {API}/{route} \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{json.dumps(body)}'"
    )
