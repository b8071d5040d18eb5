"""Chat with a real model, by the unmodified openai client."""

import json
from typing import Any

import jsonschema
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.api.caller import Caller

MODEL = "smollm2-135m"
FRANCE: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]
STORY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me a story."}]


def say(client: OpenAI, **options: Any) -> ChatCompletion:
    answer = client.chat.completions.create(
        **{"model": MODEL, "messages": FRANCE, "temperature": 0, **options}
    )
    assert isinstance(answer, ChatCompletion)
    return answer


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
def test_it_knows_paris(alice: Caller, prefix: str) -> None:
    with alice.openai(prefix) as client:
        answer = say(client)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.role == "assistant"


def test_it_has_the_originals_fields(alice: Caller) -> None:
    answer = alice.chat("What is the capital of France?", MODEL, temperature=0).json()
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert isinstance(answer["created"], int)
    assert answer["model"] == MODEL
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    ours = answer["x_modelpilot"]
    assert answer["system_fingerprint"] == f"modelpilot-{ours['deployment_id']}"
    assert ours["model_identifier"] == MODEL
    assert ours["response_time_ms"] > 0
    assert ours["direct_endpoint"] is None
    assert ours["cost"] == 0.001
    assert alice.job(ours["job_id"])["state"] == "succeeded"


def test_it_gives_several_answers_and_charges_each(alice: Caller) -> None:
    with alice.openai() as client:
        answer = say(client, n=2, temperature=1, messages=STORY, max_tokens=20)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.content != answer.choices[1].message.content
    assert answer.to_dict()["x_modelpilot"]["cost"] == 0.002  # type: ignore[index]


def test_it_stops_where_it_is_told(alice: Caller) -> None:
    with alice.openai() as client:
        answer = say(client, stop=["Paris"])
    assert answer.choices[0].message.content == "The capital of France is "
    assert answer.choices[0].finish_reason == "stop"


def test_it_repeats_itself_with_the_same_seed(alice: Caller) -> None:
    with alice.openai() as client:
        texts = [
            say(client, seed=seed, temperature=1.5, messages=STORY, max_tokens=30)
            .choices[0]
            .message.content
            for seed in (7, 7, 8)
        ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_it_keeps_to_the_number_of_tokens(alice: Caller, name: str) -> None:
    with alice.openai() as client:
        answer = say(client, messages=STORY, **{name: 5})
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.choices[0].finish_reason == "length"


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "colour": {"enum": ["red", "green", "blue"]},
    },
    "required": ["name", "age", "colour"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0, 1])
def test_it_keeps_to_a_json_schema(alice: Caller, temperature: float) -> None:
    with alice.openai() as client:
        answer = say(
            client,
            messages=[{"role": "user", "content": "Invent a person."}],
            temperature=temperature,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": PERSON, "strict": True},
            },
        )
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content or ""), PERSON)


def test_it_speaks_json_when_asked(alice: Caller) -> None:
    with alice.openai() as client:
        answer = say(
            client,
            messages=[{"role": "user", "content": "Describe a cat as JSON."}],
            response_format={"type": "json_object"},
            max_tokens=300,
        )
    text = answer.choices[0].message.content or ""
    assert text.lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def test_it_takes_content_in_parts(alice: Caller) -> None:
    parts = [
        {"type": "text", "text": "What is the capital"},
        {"type": "text", "text": "of France?"},
    ]
    body = {
        "model": MODEL,
        "temperature": 0,
        "messages": [
            {"role": "developer", "content": "You know geography."},
            {"role": "user", "content": parts},
        ],
    }
    answer = alice.post("chat/completions", body).json()
    assert "Paris" in answer["choices"][0]["message"]["content"]


def test_it_answers_202_with_the_job_when_asked_not_to_wait(alice: Caller) -> None:
    response = alice.chat("one two", max_tokens=2, headers={"Prefer": "respond-async"})
    assert response.status_code == 202, response.text
    job = response.json()
    assert job["object"] == "job"
    assert job["kind"] == "text"
    assert response.headers["Location"] == f"/api/v1/jobs/{job['id']}"
    ended = alice.ended(job["id"])
    assert ended["state"] == "succeeded"
    assert ended["result"]["choices"][0]["text"] == "one two "
