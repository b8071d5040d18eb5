"""Streamed chat: what comes, in which order, and when."""

import time

import pytest

from tests.api.caller import Caller, content

MODEL = "smollm2-135m"


def test_it_streams_what_it_says_otherwise(alice: Caller) -> None:
    with alice.openai() as client:
        chunks = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            stream=True,
        )
        # As the original's sample does: every chunk must have a choice.
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "The capital of France is Paris."


def test_chunks_arrive_while_it_generates(
    alice: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    alice.chat("Hello", MODEL, max_tokens=1)  # it is loaded
    started = time.monotonic()
    with alice.stream("Tell me a long story.", MODEL, max_tokens=150, temperature=0) as lines:
        times = [time.monotonic() - started for chunk in lines.chunks() if content(chunk)]
    with capsys.disabled():
        print(f"\nfirst token after {times[0]:.2f} s, last after {times[-1]:.2f} s")
    assert len(times) > 20
    assert times[0] < times[-1] / 3


def test_a_stream_has_openais_shape(alice: Caller) -> None:
    with alice.stream("one two three", max_tokens=3) as lines:
        assert lines.response.headers["Content-Type"].startswith("text/event-stream")
        assert lines.response.headers["Cache-Control"] == "no-cache"
        assert lines.response.headers["X-Accel-Buffering"] == "no"
        chunks = list(lines.chunks())
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in chunk["choices"][0]["delta"] for chunk in chunks[1:])
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])
    assert all(chunk.get("usage") is None for chunk in chunks)
    assert "".join(map(content, chunks)) == "one two three "
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert (chunk["id"], chunk["created"]) == (chunks[0]["id"], chunks[0]["created"])
        assert chunk["system_fingerprint"].startswith("modelpilot-dep")
    assert chunks[-1]["x_modelpilot"]["cost"] == 0.001


def test_usage_comes_last_and_only_if_asked(alice: Caller) -> None:
    with alice.stream("one two", max_tokens=2, stream_options={"include_usage": True}) as lines:
        *chunks, last = lines.chunks()
    assert all(chunk["usage"] is None for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 2


def test_several_answers_each_have_a_role_and_an_end(alice: Caller) -> None:
    with alice.stream("one two", max_tokens=2, n=2) as lines:
        choices = [choice for chunk in lines.chunks() for choice in chunk["choices"]]
    for index in (0, 1):
        mine = [choice for choice in choices if choice["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert "".join(choice["delta"].get("content") or "" for choice in mine) == "one two "
        assert [choice["finish_reason"] for choice in mine if choice["finish_reason"]] == ["length"]


@pytest.mark.parametrize("words", ["grüße 🎈 und 日本語", 'quotes " and \\ and data: [DONE]'])
def test_any_text_comes_whole(alice: Caller, words: str) -> None:
    count = len(words.split())
    with alice.stream(words, "echo-slow", max_tokens=count) as lines:
        assert lines.text() == f"{words} "


def test_a_refusal_has_its_status_and_no_stream(alice: Caller) -> None:
    response = alice.chat("[error]", "echo-slow", stream=True)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "generation_failed"


def test_comments_say_what_a_client_waits_for(alice: Caller) -> None:
    with alice.stream("one two", "echo-cold", max_tokens=2) as lines:
        said = list(lines)
    comments = [line for line in said if line.startswith(": ")]
    assert comments
    assert any("loading" in line or "starting" in line for line in comments)
    assert any("position 1" in line for line in comments)
    assert said[-1] == "data: [DONE]"
    assert all(line.startswith((": ", "data: ")) for line in said)
