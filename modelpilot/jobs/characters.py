"""Text as PostgreSQL can store it: a model may write a NUL, or half of a surrogate pair."""

import re
from typing import Any

from inference.types import Call, Delta

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
INSTEAD = "\ufffd"


def storable(value: Any) -> Any:
    """A JSON value with each of these characters replaced by one other, in all of its strings."""
    if isinstance(value, str):
        return UNSTORABLE.sub(INSTEAD, value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


def storable_delta(delta: Delta) -> Delta:
    """The same of a piece of text, which mostly has none of them."""
    call = delta.call
    if not delta.logprobs and not UNSTORABLE.search(delta.text + (call.name if call else "")):
        return delta
    return Delta(
        storable(delta.text),
        delta.index,
        delta.part,
        delta.tokens,
        Call(call.id, storable(call.name)) if call else None,
        storable(delta.logprobs),
    )
