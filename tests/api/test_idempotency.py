"""One Idempotency-Key is one job and one charge, however often it is sent."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller

REPLAYED = "Idempotent-Replayed"


@pytest.fixture
def key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


def test_a_finished_chat_is_answered_again(newcomer: NewCaller, key: dict[str, str]) -> None:
    dora = newcomer()
    first, second = (dora.chat("one two", headers=key) for _ in range(2))
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    assert second.headers["Content-Type"] == first.headers["Content-Type"]
    assert dora.available() == 1 - 0.001


def test_speech_is_answered_again(newcomer: NewCaller, key: dict[str, str]) -> None:
    dora = newcomer()
    bodies = {
        "generate/audio": {"model": "piper-joe", "text": "Hello."},
        "audio/speech": {"model": "piper-joe", "input": "Hello.", "voice": "alloy"},
    }
    for path, body in bodies.items():
        first, second = (dora.post(path, body, headers=key) for _ in range(2))
        assert first.status_code == 200
        assert (second.status_code, second.content) == (first.status_code, first.content)
        assert second.headers[REPLAYED] == "true"
        assert second.headers.get("x-modelpilot-job-id") == first.headers.get("x-modelpilot-job-id")
    # One key on two routes is two keys.
    assert dora.available() == 1 - 0.002


def test_a_failure_is_answered_again(newcomer: NewCaller, key: dict[str, str]) -> None:
    dora = newcomer()
    first, second = (dora.chat("[error]", "echo-slow", headers=key) for _ in range(2))
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    assert len(dora.get("jobs").json()["data"]) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "a"}]}),
        ("completions", {"model": "echo", "prompt": "a"}),
        ("embeddings", {"model": "all-minilm-l6-v2", "input": "a"}),
        ("generate/audio", {"model": "piper-joe", "text": "Hello."}),
        ("audio/speech", {"model": "piper-joe", "input": "Hello.", "voice": "alloy"}),
    ],
)
def test_what_was_deleted_is_not_answered_again(
    newcomer: NewCaller, key: dict[str, str], path: str, body: dict[str, str]
) -> None:
    dora = newcomer()
    assert dora.post(path, body, headers=key).status_code == 200
    job = dora.newest_job()["id"]
    assert dora.send("DELETE", f"jobs/{job}").status_code == 204

    error_of(dora.post(path, body, headers=key), 404, "output_not_found")
    if path == "generate/audio":
        error_of(dora.get(f"generate/audio/status/{job}"), 404, "output_not_found")
    assert len(dora.get("jobs").json()["data"]) == 1


def test_openai_routes_wait_for_the_same_job(newcomer: NewCaller, key: dict[str, str]) -> None:
    dora = newcomer()
    with ThreadPoolExecutor() as threads:
        first = threads.submit(dora.chat, "one two", "echo-slow", max_tokens=30, headers=key)
        time.sleep(0.5)
        second = dora.chat("one two", "echo-slow", max_tokens=30, headers=key)
        assert second.status_code == 200, second.text
        assert second.content == first.result().content
    assert dora.available() == 1 - 0.001


def test_native_routes_name_the_same_job(newcomer: NewCaller, key: dict[str, str]) -> None:
    dora = newcomer()
    body = {"model": "kokoro", "text": "This is a sentence that takes a while to be spoken."}
    headers = {**key, "Prefer": "wait=0"}
    first, second = (dora.post("generate/audio", body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers[REPLAYED] == "true"
    dora.ended(first.json()["id"])
    assert dora.available() == 1 - 0.002


def test_another_body_is_422(newcomer: NewCaller, key: dict[str, str]) -> None:
    dora = newcomer()
    assert dora.chat("one", headers=key).status_code == 200
    error = error_of(dora.chat("two", headers=key), 422, "idempotency_key_reused")
    assert error["param"] == "Idempotency-Key"
    assert dora.available() == 1 - 0.001


def test_fifty_at_once_are_one_job(
    newcomer: NewCaller, key: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    dora = newcomer()
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: dora.chat("a b", "echo-slow", headers=key), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    jobs = dora.get("jobs").json()["data"]
    assert [job["cost"] for job in jobs] == [0.001]
    assert dora.available() == 1 - 0.001
    record_property("reached", f"over HTTP {len(answers)} answers from {len(jobs)} job")


def test_a_stream_is_told_again(newcomer: NewCaller, key: dict[str, str]) -> None:
    dora = newcomer()
    texts = []
    for _ in range(2):
        with dora.stream("one two", "echo-slow", max_tokens=5, headers=key) as lines:
            texts.append(lines.text())
            replayed = lines.response.headers.get(REPLAYED)
    assert texts == ["one two one two one "] * 2
    assert replayed == "true"
    assert dora.available() == 1 - 0.001


def test_a_running_stream_is_joined_from_its_beginning(
    newcomer: NewCaller, key: dict[str, str]
) -> None:
    dora = newcomer()
    with ThreadPoolExecutor() as threads:

        def read() -> str:
            with dora.stream("one two", "echo-slow", max_tokens=30, headers=key) as lines:
                return lines.text()

        first = threads.submit(read)
        time.sleep(0.7)
        assert read() == first.result() == "one two " * 15
    assert dora.available() == 1 - 0.001


def test_keys_are_each_accounts_own(alice: Caller, charlie: Caller, key: dict[str, str]) -> None:
    mine, theirs = (each.chat("one", headers=key).json()["id"] for each in (alice, charlie))
    assert mine != theirs


def test_a_refusal_is_not_remembered(newcomer: NewCaller, key: dict[str, str]) -> None:
    dora = newcomer("0.001")
    error_of(dora.chat("one", n=2, headers=key), 402, "insufficient_quota")
    assert dora.chat("one", headers=key).status_code == 200


@pytest.mark.parametrize("bad", ["", "x" * 256])
def test_a_senseless_key_is_422(alice: Caller, bad: str) -> None:
    error_of(alice.chat("one", headers={"Idempotency-Key": bad}), 422, "invalid_value")
