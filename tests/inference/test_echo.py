"""The engine without weights, which other tests and the benchmark stand on."""

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from inference.catalog import Catalog
from inference.errors import Cancelled, ContextLengthExceeded, InferenceError, InvalidRequest
from inference.types import ChatRequest, Delta, Engine, Event, Read
from tests.inference.conftest import Loader


@pytest.fixture(scope="module")
def echo(cards: Catalog, start: Loader) -> Engine:
    return start(cards.cards["echo"])


@pytest.fixture(scope="module")
def slow(cards: Catalog, start: Loader) -> Engine:
    return start(cards.cards["echo-slow"])


def ask(words: str = "one two three", **fields: Any) -> ChatRequest:
    return ChatRequest([{"role": "user", "content": words}], **fields)


def silent(event: Event) -> None:
    pass


def test_it_repeats_the_words(echo: Engine) -> None:
    events: list[Event] = []
    result = echo.generate(ask(max_tokens=4), events.append)
    assert events == [Read(3), Delta("one "), Delta("two "), Delta("three "), Delta("one ")]
    assert result.data == {
        "choices": [{"index": 0, "text": "one two three one ", "finish_reason": "length"}],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_it_says_16_tokens_unless_told(echo: Engine) -> None:
    assert echo.generate(ask(), silent).data["usage"]["completion_tokens"] == 16


def test_it_stops_in_the_middle_of_a_token(echo: Engine) -> None:
    events: list[Event] = []
    result = echo.generate(ask(stop=["ree", "o t"], n=2), events.append)
    assert [choice["text"] for choice in result.data["choices"]] == ["one tw"] * 2
    assert result.data["choices"][1]["finish_reason"] == "stop"
    assert "".join(e.text for e in events if isinstance(e, Delta) and e.index == 1) == "one tw"


def test_it_hears_the_last_user(echo: Engine) -> None:
    parts = [{"type": "text", "text": "new"}, {"type": "text", "text": "words"}]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "old"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
    ]
    result = echo.generate(ChatRequest(messages, max_tokens=2), silent)
    assert result.data["choices"][0]["text"] == "new words "


def test_it_goes_on_with_a_bare_prompt(echo: Engine) -> None:
    result = echo.generate(ChatRequest(prompt="bare words", max_tokens=3), silent)
    assert result.data["choices"][0]["text"] == "bare words bare "
    assert result.data["usage"]["prompt_tokens"] == 2
    with pytest.raises(ContextLengthExceeded) as caught:
        echo.generate(ChatRequest(prompt="word " * 5000), silent)
    assert caught.value.param == "prompt"


def test_it_ends_with_its_context(echo: Engine) -> None:
    result = echo.generate(ask("one two", max_tokens=1_000_000), silent)
    assert result.data["usage"]["total_tokens"] == 4096
    assert result.data["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("words", "error"), [("word " * 5000, ContextLengthExceeded), (" ", InvalidRequest)]
)
def test_it_refuses(words: str, error: type[Exception], echo: Engine) -> None:
    with pytest.raises(error):
        echo.generate(ask(words), silent)


def test_many_share_the_pace(slow: Engine) -> None:
    began = time.monotonic()
    threads = [
        threading.Thread(target=slow.generate, args=(ask(max_tokens=10), silent)) for _ in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 10 tokens at 20 a second.
    assert 0.4 < time.monotonic() - began < 1.5


def test_it_hears_a_cancel(slow: Engine) -> None:
    def emit(event: Event) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        slow.generate(ask(max_tokens=1000), emit)


def test_it_fails_on_purpose_only_where_faults_are_on(slow: Engine, echo: Engine) -> None:
    with pytest.raises(InferenceError, match="asked to fail"):
        slow.generate(ask("[error]"), silent)
    assert echo.generate(ask("[error]", max_tokens=1), silent).data["choices"][0]["text"]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        "-m",
        "inference",
        *arguments,
        "--catalog",
        "tests/inference/echo.toml",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_exit_ends_the_process() -> None:
    assert run("echo-slow", "[exit]").returncode == 1


def test_the_command_line_streams_the_answer() -> None:
    ran = run("echo", "a b", "--max-tokens", "3")
    assert ran.returncode == 0
    assert ran.stdout == "a b a \n"
    assert "3 tokens" in ran.stderr


def test_the_command_line_lists_the_models_for_a_wrong_name() -> None:
    ran = run("nobody", "a b")
    assert ran.returncode == 2
    assert "smollm2-135m" in ran.stderr
    assert "echo-slow" in ran.stderr


def test_a_stopped_model_answers_nobody(cards: Catalog, start: Loader) -> None:
    engine = start(cards.cards["echo-slow"])
    failures: list[InferenceError] = []

    def work() -> None:
        try:
            engine.generate(ask(max_tokens=1000), silent)
        except InferenceError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    engine.close()
    thread.join(timeout=5)
    with pytest.raises(InferenceError, match="stopped"):
        engine.generate(ask(), silent)
    assert len(failures) == 1
