"""Cutting text into sentences: nothing is lost, nothing is too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.sound.sentences import split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Dr. Smith has 3.5 cats, e.g. Tom.", ["Dr. Smith has 3.5 cats, e.g. Tom."]),
        ("A heading\nAnd a line", ["A heading", "And a line"]),
        ("今日は。元気です。", ["今日は。", "元気です。"]),
        ("  \n ", []),
        ("no end", ["no end"]),
    ],
)
def test_it_cuts_where_a_reader_would_pause(text: str, expected: list[str]) -> None:
    assert split(text) == expected


def test_a_long_sentence_is_cut_at_a_comma_before_a_space() -> None:
    text = "and so it went on and on, " * 10
    pieces = split(text, longest=60)
    assert all(piece.endswith(",") for piece in pieces)


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from(" .!?,\n\"'Dr"))))
def test_no_character_is_lost(text: str) -> None:
    assert "".join("".join(split(text, longest=20)).split()) == "".join(text.split())


@given(st.text(), st.integers(1, 50))
def test_no_piece_is_empty_or_too_long(text: str, longest: int) -> None:
    assert all(0 < len(piece) <= longest for piece in split(text, longest))
