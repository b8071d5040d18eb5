"""Tiny models of the seed families, with random weights, through text_transformers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from transformers import AutoModelForCausalLM

from inference import engines
from inference.catalog import Card, Catalog
from inference.errors import InvalidRequest
from inference.text.vocabulary import Vocabulary
from inference.types import ChatRequest, Delta, Device, Event
from inference.weights import Weights

FAMILIES = {
    "qwen3": "qwen3-8b",
    "gemma3": "gemma3:4b",
    "deepseek-qwen": "deepseek-r1",
    "deepseek-llama": "deepseek-r1",
}
SHAPE = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["cat", "dog"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["kind", "age"],
    "additionalProperties": False,
}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "note", "parameters": SHAPE}}
FORM = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SHAPE}}

Started = Callable[[str], Any]


@pytest.fixture(scope="module")
def started(cards: Catalog, tiny_text: Callable[[str], Path]) -> Iterator[Started]:
    """The engine of a family, loaded when it is first wanted."""
    loaded: dict[str, Any] = {}

    def start(family: str) -> Any:
        if family not in loaded:
            loaded[family] = engines.load(
                card(cards, family), Weights({"model": tiny_text(family)}), Device(threads=1)
            )
        return loaded[family]

    yield start
    for engine in loaded.values():
        engine.close()


def card(cards: Catalog, family: str, **changes: Any) -> Card:
    """The seed card as it would run on a GPU, but on the CPU."""
    way = cards.cards[FAMILIES[family]].way("text_transformers", "cuda")
    small = {"device": "cpu", "context": 1024, "slots": 8, "options": {"dtype": "float32"}}
    return way.model_copy(update={"memory_mb": 8000, **small, **changes})


def ask(prompt: str = "Hello there", **fields: Any) -> ChatRequest:
    fields = {"max_tokens": 40, "temperature": 0.0, **fields}
    return ChatRequest(messages=[{"role": "user", "content": prompt}], **fields)


def silent(event: Event) -> None:
    pass


@pytest.mark.parametrize("family", FAMILIES)
def test_every_token_is_told_of(family: str, started: Started) -> None:
    """Random weights often end within a character, which has no text."""
    for seed in range(20):
        heard: list[Event] = []
        request = ChatRequest(prompt="Once", max_tokens=4, logprobs=True, seed=seed)
        result = started(family).generate(request, heard.append)
        [choice], usage = result.data["choices"], result.data["usage"]
        ends = choice["finish_reason"] == "stop"  # a token with no place in the answer
        entries = choice["logprobs"]["content"]
        assert len(entries) == usage["completion_tokens"] - ends
        streamed = [
            entry for delta in heard if isinstance(delta, Delta) for entry in delta.logprobs
        ]
        assert streamed == entries


@pytest.mark.parametrize("family", FAMILIES)
def test_it_writes_what_transformers_writes(
    family: str, started: Started, tiny_text: Callable[[str], Path]
) -> None:
    """Paged, packed and in pieces, the logits are those of the plain model."""
    engine = started(family)
    prompt = "abc " * 100  # longer than a piece, and than Gemma's window
    request = ChatRequest(prompt=prompt, max_tokens=24, temperature=0.0, logprobs=True)
    entries = engine.generate(request, silent).data["choices"][0]["logprobs"]["content"]
    ids = engine._vocabulary.encode(prompt, bare=True)
    plain = AutoModelForCausalLM.from_pretrained(tiny_text(family), dtype=torch.float32)
    with torch.inference_mode():
        output = plain.generate(
            torch.tensor([ids]), max_new_tokens=24, do_sample=False,
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
    tokens = output.sequences[0, len(ids) :].tolist()
    expected = [
        float(logits[0].log_softmax(-1)[token])
        for token, logits in zip(tokens, output.logits, strict=True)
    ]
    assert [entry["logprob"] for entry in entries] == pytest.approx(
        expected[: len(entries)], abs=1e-3
    )
    assert len(entries) >= len(tokens) - 1  # the end is not an entry


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_json_follows_its_schema(family: str, started: Started) -> None:
    request = ask(response_format=FORM, max_tokens=300, reasoning_effort="none", temperature=1.0)
    choice = started(family).generate(request, silent).data["choices"][0]
    jsonschema.validate(json.loads(choice["text"]), SHAPE)
    assert choice["finish_reason"] == "stop"
    assert "reasoning" not in choice


@pytest.mark.parametrize("family", ["qwen3", "deepseek-qwen"])
def test_a_grammar_waits_until_the_thoughts_end(family: str, started: Started) -> None:
    """A bias makes the random model stop thinking."""
    engine = started(family)
    _, end = engine._vocabulary.thoughts
    request = ask(
        response_format=FORM, max_tokens=600, temperature=1.0, seed=3, logit_bias={str(end): 12.0}
    )
    data = engine.generate(request, silent).data
    jsonschema.validate(json.loads(data["choices"][0]["text"]), SHAPE)
    assert data["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "deepseek-llama"])
def test_calls_can_be_forced(family: str, started: Started) -> None:
    engine = started(family)
    fields: dict[str, Any] = {}
    if engine._vocabulary.thoughts is not None:
        fields["logit_bias"] = {str(engine._vocabulary.thoughts[1]): 12.0}
    heard: list[Event] = []
    request = ask(
        tools=[TOOL], tool_choice="required", parallel_tool_calls=False, max_tokens=600,
        temperature=1.0, seed=1, **fields,
    )  # fmt: skip
    choice = engine.generate(request, heard.append).data["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["tool_calls"]
    assert call["function"]["name"] == "note"
    jsonschema.validate(json.loads(call["function"]["arguments"]), SHAPE)
    parts = [event.part for event in heard if isinstance(event, Delta) and event.text]
    assert set(parts) <= {"reasoning", "call.0"}


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_beside_tools_an_answer_still_keeps_to_its_form(family: str, started: Started) -> None:
    """What comes is JSON by the schema, or a call: never anything else."""
    kinds = set()
    for seed in range(6):
        request = ask(
            tools=[TOOL], response_format=FORM, reasoning_effort="none", max_tokens=600,
            temperature=1.0, seed=seed,
        )  # fmt: skip
        choice = started(family).generate(request, silent).data["choices"][0]
        kinds.add(choice["finish_reason"])
        if choice["finish_reason"] == "tool_calls":
            texts = [call["function"]["arguments"] for call in choice["tool_calls"]]
            assert choice["text"] == ""
        else:
            texts = [choice["text"]]
        for text in texts if choice["finish_reason"] != "length" else ():
            jsonschema.validate(json.loads(text), SHAPE)
    assert kinds & {"stop", "tool_calls"}


def test_a_call_that_the_model_chose_is_held_to_its_schema(started: Started) -> None:
    engine = started("qwen3")
    begin = str(engine._vocabulary.tokenizer.convert_tokens_to_ids("<tool_call>"))
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    called = 0
    for seed in range(6):
        request = ask(
            tools=[strict], parallel_tool_calls=False, reasoning_effort="none", max_tokens=400,
            temperature=1.0, seed=seed, logit_bias={begin: 9.0},
        )  # fmt: skip
        choice = engine.generate(request, silent).data["choices"][0]
        if choice["finish_reason"] == "tool_calls":
            (call,) = choice["tool_calls"]
            jsonschema.validate(json.loads(call["function"]["arguments"]), SHAPE)
            called += 1
    assert called


def test_thoughts_come_apart_and_are_counted(started: Started) -> None:
    heard: list[Event] = []
    data = started("deepseek-qwen").generate(ask(max_tokens=12), heard.append).data
    choice = data["choices"][0]
    assert choice["reasoning"]
    assert data["usage"]["completion_tokens_details"]["reasoning_tokens"] >= 11
    pieces = [event for event in heard if isinstance(event, Delta) and event.part == "reasoning"]
    assert "".join(piece.text for piece in pieces) == choice["reasoning"]


def test_little_effort_means_no_thoughts(started: Started) -> None:
    engine = started("qwen3")
    thinking, plain = (
        engine._vocabulary.render(ask(reasoning_effort=effort), ask().messages)
        for effort in (None, "minimal")
    )
    assert plain == thinking + "<think>\n\n</think>\n\n"
    data = engine.generate(ask(reasoning_effort="none", max_tokens=8), silent).data
    assert data["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


CALLED: list[dict[str, Any]] = [
    {"role": "user", "content": "The weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "note", "arguments": '{"kind": "cat"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_with_calls_and_tools_can_be_said(family: str, started: Started) -> None:
    request = ChatRequest(messages=CALLED, tools=[TOOL], max_tokens=4)
    prompt = started(family)._vocabulary.render(request, CALLED)
    assert '{"kind": "cat"}' in prompt
    assert "sunny" in prompt
    assert '"maximum": 9' in prompt  # the tool's own schema
    started(family).generate(request, silent)


def test_what_a_template_refuses_is_the_requests_fault(started: Started) -> None:
    twice = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(InvalidRequest, match="must alternate") as refusal:
        started("gemma3").generate(ChatRequest(messages=twice), silent)
    assert refusal.value.param == "messages"


def test_letters_in_pieces_come_whole(started: Started) -> None:
    """A tokenizer of bytes: no half character is ever told."""
    heard: list[Event] = []
    request = ChatRequest(prompt="é" * 40, max_tokens=40, temperature=1.0, seed=1)
    data = started("qwen3").generate(request, heard.append).data
    texts = [event.text for event in heard if isinstance(event, Delta)]
    assert "".join(texts) == data["choices"][0]["text"]


def test_bytes_that_make_no_character_end_nothing(tiny_text: Callable[[str], Path]) -> None:
    """Gemma's tokenizer takes back what it said of a byte, once others make nonsense of it."""
    vocabulary = Vocabulary(tiny_text("gemma3"))
    tokens = map(vocabulary.tokenizer.convert_tokens_to_ids, ["<0x0A>", "<0xF0>", "<0x90>", "_"])
    stream = vocabulary.stream()
    assert "".join(stream.step(token) for token in tokens) == "\n_"
