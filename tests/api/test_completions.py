"""POST /completions: bare text goes on, by the unmodified openai client."""

from typing import Any

import pytest

from tests.api.caller import Caller, error_of

MODEL = "smollm2-135m"
FRANCE = "The capital of France is"


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
def test_it_goes_on_without_a_template(alice: Caller, prefix: str) -> None:
    with alice.openai(prefix) as client:
        answer = client.completions.create(
            model=MODEL, prompt=FRANCE, max_tokens=3, temperature=0, n=2
        )
    assert (answer.object, answer.id[:5], answer.model) == ("text_completion", "cmpl-", MODEL)
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.text.startswith(" Paris")
        assert (choice.finish_reason, choice.logprobs) == ("length", None)
    assert answer.usage is not None
    # A template would have put a score of tokens around it.
    assert answer.usage.prompt_tokens == len(FRANCE.split())
    assert answer.usage.completion_tokens == 6
    assert alice.job(answer.id)["cost"] == 0.002


def test_it_says_sixteen_tokens_unless_asked_for_more(alice: Caller) -> None:
    for options, tokens in (({}, 16), ({"max_tokens": 20}, 20), ({"max_tokens": None}, 16)):
        answer = ask(alice, **options)
        assert answer["usage"]["completion_tokens"] == tokens


def test_a_list_of_one_prompt_is_that_prompt(alice: Caller) -> None:
    assert text(ask(alice, prompt=["one two"], max_tokens=3)) == "one two one "


def test_stop_and_seed_are_kept(alice: Caller) -> None:
    assert text(ask(alice, prompt="one two three", stop="two")) == "one "
    drawn = [
        text(ask(alice, model=MODEL, prompt="Once", temperature=1.5, seed=seed))
        for seed in (7, 7, 8)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_prompt_comes_back_if_asked_for(alice: Caller) -> None:
    asked = {"prompt": "one two ", "echo": True, "max_tokens": 2}
    assert text(ask(alice, **asked)) == "one two one two "
    with alice.openai() as client:
        chunks = list(
            client.completions.create(
                model="echo", prompt="one two ", echo=True, max_tokens=2, stream=True
            )
        )
    assert "".join(chunk.choices[0].text for chunk in chunks) == "one two one two "


def test_it_streams_what_it_says_otherwise(alice: Caller) -> None:
    asked: dict[str, Any] = {"model": MODEL, "prompt": FRANCE, "max_tokens": 8, "temperature": 0}
    with alice.openai() as client:
        whole = client.completions.create(**asked)
        *chunks, last = client.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
    # Tokens that are there at the same moment come together.
    assert len(chunks) > 1
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage) == ([], whole.usage)


def test_usage_is_streamed_only_if_asked(alice: Caller) -> None:
    with alice.openai() as client:
        chunks = list(client.completions.create(model="echo", prompt="a", stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("top", [0, 2])
def test_it_tells_how_likely_its_words_were(alice: Caller, top: int) -> None:
    asked: dict[str, Any] = {"model": MODEL, "prompt": FRANCE, "max_tokens": 4, "temperature": 0}
    with alice.openai() as client:
        (choice,) = client.completions.create(**asked, logprobs=top).choices
        chunks = list(client.completions.create(**asked, logprobs=top, stream=True))
    told = choice.logprobs
    assert told is not None
    assert told.tokens is not None
    assert told.tokens[0] == " Paris"
    assert "".join(told.tokens) == choice.text
    assert told.text_offset is not None
    for at, token in zip(told.text_offset, told.tokens, strict=True):
        assert choice.text.startswith(token, at)
    assert all(p is not None and p <= 0 for p in told.token_logprobs or [None])
    if top:
        assert [len(others) for others in told.top_logprobs or ()] == [2] * len(told.tokens)
    else:
        assert told.top_logprobs is None
    streamed = [c.choices[0].logprobs for c in chunks if c.choices[0].logprobs]
    assert [token for each in streamed for token in each.tokens or ()] == told.tokens
    assert [at for each in streamed for at in each.text_offset or ()] == told.text_offset


def test_a_biased_token_is_never_said(alice: Caller) -> None:
    with alice.openai() as client:
        answer = client.completions.create(
            model=MODEL, prompt=FRANCE, max_tokens=3, temperature=0, logit_bias={"7042": -100}
        )
    assert "Paris" not in answer.choices[0].text


def test_it_can_be_a_job_for_later(alice: Caller) -> None:
    asked = {"model": "echo", "prompt": "one two", "max_tokens": 2}
    response = alice.post("completions", asked, headers={"Prefer": "respond-async"})
    assert response.status_code == 202, response.text
    assert alice.ended(response.json()["id"])["result"]["choices"][0]["text"] == "one two "


def test_a_retry_is_answered_from_the_first(alice: Caller) -> None:
    headers = {"Idempotency-Key": "completion-again"}
    asked = {"model": MODEL, "prompt": "Once", "temperature": 1.5}
    first, again = (alice.post("completions", asked, headers=headers) for _ in range(2))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.content == again.content


@pytest.mark.parametrize(
    ("field", "status", "code", "param"),
    [
        ({"suffix": "the end"}, 400, "unsupported_parameter", "suffix"),
        ({"logprobs": 6}, 422, "invalid_value", "logprobs"),
        ({"logprobs": 1, "echo": True}, 422, "invalid_value", "logprobs"),
        ({"best_of": 2}, 400, "unsupported_parameter", "best_of"),
        ({"prompt": ["a", "b"]}, 422, "invalid_value", "prompt"),
        ({"prompt": [1, 2]}, 422, "invalid_value", "prompt"),
        ({"prompt": [[1, 2]]}, 422, "invalid_value", "prompt"),
        ({"prompt": []}, 422, "invalid_value", "prompt"),
        ({"prompt": ""}, 422, "invalid_value", "prompt"),
        ({"max_tokens": 0}, 422, "invalid_value", "max_tokens"),
        ({"n": 5}, 422, "invalid_value", "n"),
        ({"model": "piper-joe"}, 400, "invalid_model_type", "model"),
        ({"model": "nothing"}, 404, "model_not_found", "model"),
        ({"prompt": "word " * 5000}, 400, "context_length_exceeded", "prompt"),
        (
            {"model": "smollm2-short", "prompt": "word " * 500},
            400,
            "context_length_exceeded",
            "prompt",
        ),
    ],
)
def test_what_it_can_not_do_is_refused_for_free(
    alice: Caller, field: dict[str, Any], status: int, code: str, param: str
) -> None:
    before = alice.available()
    refused = alice.post("completions", {"model": "echo", "prompt": "a", **field})
    assert error_of(refused, status, code)["param"] == param
    assert alice.available() == before


@pytest.mark.parametrize("field", [{"best_of": 1}, {"suffix": None, "logprobs": None}])
def test_what_asks_for_nothing_is_taken(alice: Caller, field: dict[str, Any]) -> None:
    assert text(ask(alice, **field, max_tokens=1)) == "a "


def ask(caller: Caller, **fields: Any) -> dict[str, Any]:
    response = caller.post("completions", {"model": "echo", "prompt": "a", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def text(answer: dict[str, Any]) -> str:
    said: str = answer["choices"][0]["text"]
    return said
