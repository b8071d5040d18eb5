"""POST /embeddings, mostly by OpenAI's own client."""

import base64
import struct
from typing import Any

import pytest

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller

MODEL = "all-minilm-l6-v2"
PRICE = 0.0001
TEXTS = ["A man is eating food.", "Somebody has a meal.", "The shares fell sharply."]


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
def test_openais_client_gets_vectors_in_order(alice: Caller, prefix: str) -> None:
    with alice.openai(prefix) as client:
        answer = client.embeddings.create(model=MODEL, input=TEXTS)
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert {len(one.embedding) for one in answer.data} == {384}
    meal, eating, shares = (one.embedding for one in answer.data)
    assert likeness(meal, meal) == pytest.approx(1, abs=1e-5)
    assert likeness(meal, eating) > likeness(meal, shares) + 0.3
    assert (answer.object, answer.model) == ("list", MODEL)
    # With the two that stand round each text.
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 8 + 7 + 7


def test_numbers_and_base64_are_the_same(alice: Caller) -> None:
    with alice.openai() as client:
        numbers = client.embeddings.create(model=MODEL, input="fox", encoding_format="float")
        packed = client.embeddings.create(model=MODEL, input="fox", encoding_format="base64")
    content = base64.b64decode(str(packed.data[0].embedding))
    assert list(struct.unpack("<384f", content)) == pytest.approx(numbers.data[0].embedding)
    plain = alice.post("embeddings", {"model": MODEL, "input": ["fox"]}).json()
    assert plain["data"][0]["embedding"] == pytest.approx(numbers.data[0].embedding, abs=1e-6)


def test_many_at_once_are_in_order(alice: Caller) -> None:
    texts = [str(number) for number in range(2049)]
    with alice.openai() as client:
        answer = client.embeddings.create(model=MODEL, input=texts[:300])
        alone = client.embeddings.create(model=MODEL, input="200").data[0].embedding
    assert len(answer.data) == 300
    assert answer.data[200].embedding == pytest.approx(alone, abs=1e-5)
    # One more than OpenAI takes.
    refused = alice.post("embeddings", {"model": MODEL, "input": texts})
    assert error_of(refused, 422, "invalid_value")["param"] == "input"


def test_it_is_a_job_that_is_paid(newcomer: NewCaller, charlie: Caller) -> None:
    dora = newcomer()
    answer = dora.post("embeddings", {"model": MODEL, "input": TEXTS}).json()
    extra = answer["x_modelpilot"]
    assert (extra["cost"], extra["model_identifier"]) == (PRICE, MODEL)
    assert dora.available() == pytest.approx(1 - PRICE)
    job = dora.job(extra["job_id"])
    assert (job["kind"], job["state"], job["cost"]) == ("embedding", "succeeded", PRICE)
    assert job["request"]["inputs"] == TEXTS
    # The vectors are in the answer; here they would only be long.
    assert job["result"]["embeddings"] == "(3 vectors of 384 numbers)"
    assert job["result"]["usage"] == answer["usage"]
    assert dora.get("jobs", params={"kind": "embedding"}).json()["data"] == [job]
    assert dora.get("jobs", params={"kind": "text"}).json()["data"] == []
    (used,) = dora.get("usage", params={"group_by": "model"}).json()["data"]
    assert (used["model"], used["requests"], used["cost"]) == (MODEL, 1, PRICE)
    assert used["tokens_in"] == answer["usage"]["prompt_tokens"]
    error_of(charlie.get(f"jobs/{job['id']}"), 404, "job_not_found")


def test_a_repeated_request_is_answered_from_its_job(newcomer: NewCaller) -> None:
    dora = newcomer()
    body = {"model": MODEL, "input": "fox"}
    first, second = (
        dora.post("embeddings", body, headers={"Idempotency-Key": "once"}) for _ in range(2)
    )
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert dora.available() == pytest.approx(1 - PRICE)


def test_what_is_too_long_is_refused_and_free(newcomer: NewCaller) -> None:
    dora = newcomer()
    response = dora.post("embeddings", {"model": MODEL, "input": ["fox", "fox " * 300]})
    error = error_of(response, 400, "context_length_exceeded")
    assert error["param"] == "input"
    for part in ("input[1]", "302", "256"):
        assert part in error["message"]
    assert dora.available() == 1


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input": ""}, 422, "input"),
        ({"input": []}, 422, "input"),
        ({"input": ["fox", ""]}, 422, "input.1"),
        ({"input": [1, 2, 3]}, 422, "input"),
        ({"input": [[1, 2], [3]]}, 422, "input"),
        ({"input": None}, 422, "input"),
        ({"encoding_format": "hex"}, 422, "encoding_format"),
        ({"dimensions": 0}, 422, "dimensions"),
        ({"dimensions": 128}, 400, "dimensions"),
    ],
)
def test_bad_input_is_refused(
    alice: Caller, fields: dict[str, Any], status: int, param: str
) -> None:
    response = alice.post("embeddings", {"model": MODEL, "input": "fox", **fields})
    assert error_of(response, status, "invalid_value")["param"] == param


def test_tokens_are_refused_in_words(alice: Caller) -> None:
    response = alice.post("embeddings", {"model": MODEL, "input": [101, 4937, 102]})
    assert "must be text" in error_of(response, 422, "invalid_value")["message"]


def test_a_chat_model_makes_none(alice: Caller) -> None:
    response = alice.post("embeddings", {"model": "echo", "input": "fox"})
    message = error_of(response, 400, "invalid_model_type")["message"]
    assert message == "Model 'echo' is not an embedding model and cannot be used with embeddings"
    error_of(alice.chat("hello", MODEL), 400, "invalid_model_type")
    missing = alice.post("embeddings", {"model": "nothing", "input": "fox"})
    assert MODEL in error_of(missing, 404, "model_not_found")["available_models"]


def test_the_list_of_models_says_what_it_is(alice: Caller) -> None:
    assert alice.get(f"models/{MODEL}").json()["modality"] == "embedding"
