"""A conversation as chat templates know it."""

from typing import Any

from inference.catalog import Card


def messages_of(card: Card, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the card's default system message, if they have none."""
    # Newer clients say "developer"; chat templates know only "system".
    messages = [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]
    system = card.options.get("system")
    if system and messages and messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    return messages


def default_of(card: Card, name: str, value: float | None) -> float | None:
    """The request's value, or the card's default for it; None if neither says."""
    default = card.parameters.get(name)
    return default.default if value is None and default else value
