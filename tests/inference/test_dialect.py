"""Thoughts and calls are split from the answer, wherever its text is cut into pieces."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.text.dialect import Splitter, Syntax, written

WEATHER = '{"city": "Paris", "days": [1, 2], "note": "a } and a \\" here"}'
HERMES = f'<tool_call>\n{{"name": "get_weather", "arguments": {WEATHER}}}\n</tool_call>'
DEEPSEEK = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    f"```json\n{WEATHER}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
)
LLAMA = f'{{"name": "get_weather", "parameters": {WEATHER}}}'


def split(text: str, cuts: list[int], **how: Any) -> dict[str, str]:
    """The whole text of each part; the name of a call stands before its arguments."""
    splitter = Splitter(**{"thinks": False, "opened": False, "syntax": None, **how})
    ends = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    pieces = []
    for begin, end in zip([0, *ends], ends, strict=False):
        pieces += splitter.feed(text[begin:end])
    pieces += splitter.finish()
    parts: dict[str, str] = {}
    for piece in pieces:
        said = piece.text if piece.call is None else f"{piece.call.name}:{piece.text}"
        parts[piece.part] = parts.get(piece.part, "") + said
    return parts


CUTS = st.lists(st.integers(0, 300), max_size=20)
CALL = {"call.0": f"get_weather:{WEATHER}"}


@given(CUTS)
def test_qwens_thoughts_answer_and_calls(cuts: list[int]) -> None:
    text = f"<think>\nUser wants < weather.\n</think>\n\nSure, a < b.\n\n{HERMES}\n{HERMES}"
    assert split(text, cuts, thinks=True, syntax="hermes") == {
        "reasoning": "User wants < weather.",
        "content": "Sure, a < b.",
        "call.0": f"get_weather:{WEATHER}",
        "call.1": f"get_weather:{WEATHER}",
    }


@given(CUTS)
def test_deepseek_thinks_from_the_start(cuts: list[int]) -> None:
    text = f"Okay.\n\nHm.\n</think>\n\n{DEEPSEEK}"
    how = {"thinks": True, "opened": True, "syntax": "deepseek"}
    assert split(text, cuts, **how) == {"reasoning": "Okay.\n\nHm.", **CALL}


@given(CUTS)
def test_llamas_call_is_bare_json(cuts: list[int]) -> None:
    assert split(LLAMA, cuts, syntax="llama") == CALL
    assert split('It is {"so": 1}.', cuts, syntax="llama") == {"content": 'It is {"so": 1}.'}
    assert split('{"so": 1}', cuts, syntax="llama") == {"content": '{"so": 1}'}


@given(st.text(alphabet="<>/think_ol\n {}a", max_size=60), CUTS)
def test_without_tools_and_thoughts_nothing_is_changed(text: str, cuts: list[int]) -> None:
    assert split(text, cuts).get("content", "") == text


@given(CUTS)
def test_a_call_with_its_arguments_first(cuts: list[int]) -> None:
    text = f'<tool_call>{{"arguments": {WEATHER}, "name": "get_weather"}}</tool_call>'
    call = split(text, cuts, syntax="hermes")["call.0"]
    assert json.loads(call.removeprefix("get_weather:")) == json.loads(WEATHER)


@given(CUTS)
def test_what_is_no_call_is_the_answer(cuts: list[int]) -> None:
    text = "<tool_call>sorry</tool_call>"
    assert split(text, cuts, syntax="hermes") == {"content": text}


@given(CUTS)
def test_a_call_cut_off_keeps_what_it_has(cuts: list[int]) -> None:
    text = HERMES[: HERMES.index("days")]
    assert split(text, cuts, syntax="hermes") == {"call.0": 'get_weather:{"city": "Paris", "'}
    assert split("<tool_call>\n{", cuts, syntax="hermes") == {"content": "<tool_call>\n{"}


def test_a_thinking_model_may_answer_at_once() -> None:
    assert split("  <thin ice>", [3, 5], thinks=True) == {"content": "  <thin ice>"}


def test_thoughts_without_end_are_thoughts() -> None:
    assert split("<think>\nHm", [], thinks=True) == {"reasoning": "Hm"}


@pytest.mark.parametrize("syntax", ["hermes", "deepseek", "llama"])
def test_what_a_grammar_forces_is_read_as_a_call(syntax: Syntax) -> None:
    begin, end = written(syntax, "get_weather")
    assert split(begin + WEATHER + end, [], syntax=syntax) == CALL
