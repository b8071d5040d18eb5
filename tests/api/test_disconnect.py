"""A client that goes away stops its job, and pays for no more than it was given."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.api.caller import Caller, content
from tests.api.conftest import NewCaller

LATER = {"Prefer": "respond-async"}


def test_a_stream_that_is_left_is_cancelled_and_charged_its_flat_price(
    newcomer: NewCaller,
) -> None:
    dora = newcomer()
    with dora.stream("a b", "echo-slow", max_tokens=400) as lines:
        for chunk in lines.chunks():
            if content(chunk):
                break
        job = dora.newest_job()["id"]
    left = time.monotonic()
    ended = dora.ended(job)
    assert time.monotonic() - left < 2
    assert (ended["state"], ended["cost"]) == ("cancelled", 0.001)
    assert dora.available() == 1 - 0.001


def test_who_leaves_at_a_token_pays_for_what_was_made(
    newcomer: NewCaller, record_property: Callable[[str, object], None]
) -> None:
    dora = newcomer()
    dora.chat("a b", "echo-by-token", max_tokens=1)
    waits = []
    for number in (1, 2, 5, 10, 20):
        with dora.stream("a b", "echo-by-token", max_tokens=400) as lines:
            said = (chunk for chunk in lines.chunks() if content(chunk))
            for _ in range(number):
                next(said)
            job = dora.newest_job()["id"]
        left = time.monotonic()
        ended = dora.ended(job)
        waits.append(time.monotonic() - left)
        made = ended["result"]["usage"]["completion_tokens"]
        assert ended["state"] == "cancelled"
        assert ended["result"]["choices"][0]["text"] == ("a b " * 400)[: 2 * made]
        # At 20 a second it made no more than a few after that.
        assert number <= made <= number + 20 * (max(waits) + 0.5)
        assert ended["cost"] == round((2 * 10 + made * 40) / 1_000_000, 6)
    assert statistics.median(waits) < 1
    record_property(
        "reached",
        f"left at token 1, 2, 5, 10 and 20: stopped after {statistics.median(waits):.2f} s "
        f"(at most {max(waits):.2f} s), charged to the token",
    )


def test_who_leaves_before_anything_came_pays_nothing(newcomer: NewCaller) -> None:
    dora = newcomer()
    first = dora.chat("a b", "echo-one", max_tokens=200, headers=LATER).json()["id"]
    dora.running(first)
    # It waits behind the first one, and its client does not.
    with pytest.raises(requests.ReadTimeout):
        impatient(dora, "echo-one")
    job = dora.newest_job()["id"]
    assert job != first
    ended = dora.ended(job, within_s=2)
    assert (ended["state"], ended["cost"], ended["attempt"]) == ("cancelled", 0, 0)
    dora.post(f"jobs/{first}/cancel")
    dora.ended(first)


def test_a_waiting_call_that_is_left_stops(newcomer: NewCaller) -> None:
    dora = newcomer()
    dora.chat("a b", "echo-slow", max_tokens=1)
    with pytest.raises(requests.ReadTimeout):
        impatient(dora, "echo-slow")
    left = time.monotonic()
    ended = dora.ended(dora.newest_job()["id"])
    assert time.monotonic() - left < 2
    assert ended["state"] == "cancelled"
    # Words had been made by then: the flat price is due from the first.
    assert ended["cost"] == 0.001


def test_speech_that_is_left_stops(newcomer: NewCaller) -> None:
    dora = newcomer()
    text = " ".join(["This is one of very many sentences that nobody will hear."] * 60)
    body = {"model": "kokoro", "input": text, "voice": "alloy"}
    with pytest.raises(requests.ReadTimeout):
        impatient(dora, body=body, path="audio/speech")
    assert dora.ended(dora.newest_job()["id"])["state"] == "cancelled"


def test_a_native_call_that_is_left_goes_on(newcomer: NewCaller) -> None:
    dora = newcomer()
    body = {"model": "kokoro", "text": "This sentence takes more than a moment to be spoken."}
    with pytest.raises(requests.ReadTimeout):
        impatient(dora, body=body, path="generate/audio", timeout_s=0.3)
    ended = dora.ended(dora.newest_job()["id"])
    assert (ended["state"], ended["cost"]) == ("succeeded", 0.002)


def impatient(
    caller: Caller,
    model: str = "",
    *,
    body: dict[str, Any] | None = None,
    path: str = "chat/completions",
    timeout_s: float = 0.7,
) -> None:
    """A call whose client hangs up after a moment."""
    chat = {
        "model": model,
        "messages": [{"role": "user", "content": "a b"}],
        "max_tokens": 400,
    }
    requests.post(
        f"{caller.base_url}/api/v1/{path}",
        headers={"Authorization": f"Bearer {caller.key}"},
        json=body or chat,
        timeout=timeout_s,
    )
