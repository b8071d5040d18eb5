"""Requests to copy, with addresses and models that exist here."""

import json

from django.conf import settings

from modelpilot.fleet.catalog import cards

API = f"{settings.SITE_URL}/api/v1"


def sample(key: str = "$MODELPILOT_KEY") -> str:
    """A first request by curl, of the first model of text that the catalog has."""
    model = next((card.id for card in cards().cards.values() if card.kind == "text"), "MODEL")
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    return (
        f"curl {API}/chat/completions \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{json.dumps(body)}'"
    )
