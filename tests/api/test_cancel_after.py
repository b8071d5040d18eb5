"""Cancel-After: as if the client cancelled its job at that moment."""

import time
from typing import Any

import pytest

from tests.api.caller import Caller, content, error_of
from tests.api.conftest import NewCaller

LATER = {"Prefer": "respond-async"}
TWO_S = {"Cancel-After": "2s"}


def assert_cancelled(job: dict[str, Any], cost: float) -> None:
    assert (job["state"], job["cost"]) == ("cancelled", cost)
    assert job["error"]["code"] == "cancelled"
    assert "Cancel-After" in job["error"]["message"]


def test_a_running_job_stops_in_time_and_costs_what_it_delivered(newcomer: NewCaller) -> None:
    dora = newcomer()
    dora.chat("warm", "echo-slow", max_tokens=1)
    started = time.monotonic()
    job = dora.chat("a b", "echo-slow", max_tokens=900, headers={**LATER, **TWO_S}).json()["id"]
    ended = dora.ended(job)
    assert 1.5 < time.monotonic() - started < 3.5
    assert_cancelled(ended, 0.001)
    assert 20 < len(ended["result"]["choices"][0]["text"].split()) < 50
    assert dora.available() == 1 - 0.002


def test_a_waiting_client_is_told(newcomer: NewCaller) -> None:
    dora = newcomer()
    dora.chat("warm", "echo-slow", max_tokens=1)
    started = time.monotonic()
    refused = dora.chat("a b", "echo-slow", max_tokens=900, headers=TWO_S)
    assert time.monotonic() - started < 3.5
    error = error_of(refused, 409, "cancelled")
    assert "Cancel-After" in error["message"]
    assert error["cost"] == 0.001
    assert dora.job(error["job_id"])["result"]["choices"][0]["text"].startswith("a b a b")


def test_a_stream_ends_with_an_error_after_its_words(newcomer: NewCaller) -> None:
    dora = newcomer()
    with dora.stream("a b", "echo-slow", max_tokens=900, headers={"Cancel-After": "2"}) as lines:
        *chunks, last = lines.chunks()
    assert last["error"]["code"] == "cancelled"
    assert last["error"]["cost"] == 0.001
    assert "".join(map(content, chunks)).startswith("a b a b")


def test_who_waits_in_the_queue_is_cancelled_for_nothing(newcomer: NewCaller) -> None:
    dora = newcomer()
    first = dora.chat("a b", "echo-one", max_tokens=600, headers=LATER).json()["id"]
    dora.running(first)
    second = dora.chat("a b", "echo-one", headers={**LATER, "Cancel-After": "1s"}).json()["id"]
    # Housekeeping looks every five seconds.
    ended = dora.ended(second, within_s=12)
    assert_cancelled(ended, 0)
    assert ended["attempt"] == 0
    dora.post(f"jobs/{first}/cancel")
    dora.ended(first)
    assert dora.available() == 1 - 0.001


def test_what_is_done_in_time_is_not_touched(newcomer: NewCaller) -> None:
    dora = newcomer()
    for header in ("1m", "90s", "90", "24h"):
        assert dora.chat("hello", headers={"Cancel-After": header}).status_code == 200
    speech = {"model": "piper-joe", "text": "Hello."}
    answer = dora.post("generate/audio", speech, headers={"Cancel-After": "60s"})
    assert answer.status_code == 200


def test_speech_and_replays_have_it_too(newcomer: NewCaller) -> None:
    dora = newcomer()
    body = {"model": "kokoro", "text": "This is one of very many sentences. " * 120}
    headers = {"Prefer": "wait=0", "Cancel-After": "2s"}
    job = dora.post("generate/audio", body, headers=headers).json()["id"]
    again = dora.post(f"jobs/{job}/replay", headers={"Cancel-After": "2s"}).json()["id"]
    for each in (job, again):
        ended = dora.ended(each, within_s=20)
        assert_cancelled(ended, ended["cost"])


BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"model": "echo", "messages": [{"role": "user", "content": "a"}]},
    "generate/audio": {"model": "kokoro", "text": "a"},
    "audio/speech": {"model": "kokoro", "input": "a"},
}


@pytest.mark.parametrize("route", BODIES)
def test_a_senseless_time_is_422(alice: Caller, route: str) -> None:
    for value in ("soon", "0", "-1", "0s", "1.5s", "25h", "2 days", "", "1e9"):
        refused = alice.post(route, BODIES[route], headers={"Cancel-After": value})
        error = error_of(refused, 422, "invalid_value")
        assert error["param"] == "Cancel-After"
        assert "90s" in error["message"]
