"""What a request became, asked with OpenAI's client: its routes for jobs are ours alone."""

import time
from typing import Any

from openai import OpenAI

from tests.clients.models import Model

ENDS_S = 60


def ended(client: OpenAI, job: str) -> dict[str, Any]:
    """The job once it has ended."""
    deadline = time.monotonic() + ENDS_S
    while True:
        found: dict[str, Any] = client.get(f"/jobs/{job}", cast_to=dict[str, Any])
        if found["state"] not in ("queued", "running"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def cost_of(model: Model, usage: dict[str, Any]) -> float:
    """What these tokens cost, in USD, rounded up to a micro-dollar."""
    if model.price is None:
        return 0.001
    known: int = usage["prompt_tokens_details"]["cached_tokens"]
    read: int = usage["prompt_tokens"] - known
    written: int = usage["completion_tokens"]
    new, cached, output = model.price
    return (new * read + cached * known + output * written) / 1_000_000
