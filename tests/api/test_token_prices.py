"""A model that is paid by the token: held by the most that it can be, charged by what it was."""

from typing import Any

import pytest

from tests.api.caller import Caller, content, error_of
from tests.api.conftest import NewCaller
from tests.system import System

MODEL = "smollm2-by-token"
PROVED = "The books are proved."
LATER = {"Prefer": "respond-async"}


def due(usage: dict[str, Any]) -> float:
    """What the card says that these tokens cost: a token of an answer is 40 micro-dollars."""
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    tenths = (
        (usage["prompt_tokens"] - cached) * 100 + cached * 25 + usage["completion_tokens"] * 400
    )
    return float(-(-tenths // 10) / 1_000_000)


def quoted(caller: Caller, words: str, **options: Any) -> float:
    body = {"model": MODEL, "messages": [{"role": "user", "content": words}], **options}
    quote = caller.post("quote", {"route": "chat/completions", "body": body})
    assert quote.status_code == 200, quote.text
    most: float = quote.json()["max_cost"]
    return most


def spent(caller: Caller) -> float:
    return round(1 - caller.available(), 6)


def test_the_answer_costs_its_tokens(newcomer: NewCaller, system: System) -> None:
    dora = newcomer()
    paid = 0.0
    for n in (1, 2):
        most = quoted(dora, "Name three fruits.", max_tokens=12, n=n)
        answer = dora.chat("Name three fruits.", MODEL, max_tokens=12, n=n)
        assert answer.status_code == 200, answer.text
        usage, cost = answer.json()["usage"], answer.json()["x_modelpilot"]["cost"]
        assert usage["completion_tokens"] > 0
        assert cost == due(usage) < most
        paid += cost
        assert spent(dora) == round(paid, 6)
    assert dora.held() == 0
    day = dora.get("usage").json()["data"][-1]
    assert day["cost"] == round(paid, 6)
    assert PROVED in system.manage("reconcile")


@pytest.mark.parametrize(
    "words",
    [
        "!",
        "🦔🫐" * 3,
        "à́̂̃ﷺ \u202e㍿ \x01\x02\ufffd\u2028",
        "<|im_start|>system\n<|im_end|>",
        " \n\t  \r\n" * 4,
        "ثلاث فواكه 三つの果物",
    ],
    ids=["short", "emoji", "strange", "template", "space", "scripts"],
)
def test_no_text_has_more_tokens_than_were_quoted(alice: Caller, words: str) -> None:
    most = quoted(alice, words, max_tokens=1)
    answer = alice.chat(words, MODEL, max_tokens=1, max_cost=most)
    assert answer.status_code == 200, answer.text
    assert answer.json()["x_modelpilot"]["cost"] == due(answer.json()["usage"]) <= most


def test_who_leaves_pays_for_the_tokens_that_were_made(newcomer: NewCaller) -> None:
    dora = newcomer()
    seen = 0
    with dora.stream("Tell me a very long story.", MODEL, max_tokens=900) as lines:
        for chunk in lines.chunks():
            seen += bool(content(chunk))
            if seen == 5:
                break
        job = dora.newest_job()["id"]
        held = dora.held()
    ended = dora.ended(job)
    usage = ended["result"]["usage"]
    assert ended["state"] == "cancelled"
    assert usage["prompt_tokens"] > 20
    assert 5 <= usage["completion_tokens"] < 900
    assert ended["cost"] == due(usage) == spent(dora)
    assert held >= 900 * 0.00004
    assert dora.held() == 0
    day = dora.get("usage").json()["data"][-1]
    assert (day["tokens_in"], day["tokens_out"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )


def test_max_cost_is_held_against_the_most(newcomer: NewCaller) -> None:
    dora = newcomer()
    most = quoted(dora, "hello", max_tokens=10)
    refused = dora.chat("hello", MODEL, max_tokens=10, max_cost=most - 0.000001)
    assert error_of(refused, 402, "max_cost_exceeded")["required"] == most
    assert spent(dora) == 0
    assert quoted(dora, "hello", max_tokens=11) == round(most + 0.00004, 6)
    assert quoted(dora, "hello", max_tokens=10, n=2) == round(most + 10 * 0.00004, 6)
    # The answer fills the context at most, and so does the prompt.
    assert quoted(dora, "hello") == quoted(dora, "hello", max_tokens=5000)
    assert quoted(dora, "hello " * 1000) == round(1024 * (0.00001 + 0.00004), 6)


def test_the_money_must_be_there_for_the_most(newcomer: NewCaller) -> None:
    dora = newcomer("0.01")
    assert quoted(dora, "hello", max_tokens=10) < 0.01 < quoted(dora, "hello", max_tokens=300)
    refused = dora.chat("hello", MODEL, max_tokens=300)
    error = error_of(refused, 402, "insufficient_quota")
    assert error["required"] == quoted(dora, "hello", max_tokens=300)
    assert error["available"] == 0.01
    assert dora.chat("hello", MODEL, max_tokens=2).status_code == 200


def test_too_long_a_prompt_costs_nothing(newcomer: NewCaller) -> None:
    dora = newcomer()
    error_of(dora.chat("word " * 2000, MODEL), 400, "context_length_exceeded")
    assert (spent(dora), dora.held()) == (0, 0)


def test_the_price_is_shown_by_its_parts(alice: Caller) -> None:
    parts = {"input_tokens": 10.0, "cached_input_tokens": 2.5, "output_tokens": 40.0}
    shown = {"unit": "request", "price": 0, "parts": parts}
    assert alice.get(f"models/{MODEL}").json()["pricing"] == {**shown, "currency": "USD"}
    prices = {row["id"]: row for row in alice.get("pricing").json()["data"]}
    assert prices[MODEL] == {"id": MODEL, "kind": "text", **shown}


def test_a_job_keeps_the_price_it_was_accepted_at(newcomer: NewCaller, system: System) -> None:
    dora = newcomer()
    first = dora.chat("a b", "echo-one", max_tokens=600, headers=LATER).json()["id"]
    dora.running(first)
    second = dora.chat("a b", "echo-one", max_tokens=2, headers=LATER).json()["id"]
    said = system.manage("price", "set", "echo-one", "0.25", "--reason", "a test")
    try:
        assert "echo-one  $0.25  from 20" in said
        refused = dora.chat("a b", "echo-one", max_tokens=2, max_cost=0.24)
        assert error_of(refused, 402, "max_cost_exceeded")["required"] == 0.25
        assert price_now(dora, "echo-one") == 0.25
        third = dora.chat("a b", "echo-one", max_tokens=2, headers=LATER).json()["id"]
    finally:
        system.manage("price", "set", "echo-one", "--card", "--reason", "the test is over")
    assert price_now(dora, "echo-one") == 0.001
    dora.post(f"jobs/{first}/cancel")
    assert dora.ended(first)["cost"] == 0.001
    assert dora.ended(second)["cost"] == 0.001
    assert dora.ended(third)["cost"] == 0.25
    assert spent(dora) == 0.252


def price_now(caller: Caller, model: str) -> float:
    price: float = caller.get(f"models/{model}").json()["pricing"]["price"]
    return price
