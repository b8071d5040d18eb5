"""Cutting a text into sentences that a voice can speak one at a time."""

import re
from collections.abc import Iterator

# A sentence ends at . ! ? … (and closing quotes or brackets) before a space, at a line break,
# or after the full stops of Chinese and Japanese, which no space follows.
ENDS = re.compile(
    r"(?<=[.!?…])[\"'”\u2019)\]]*\s+"
    r"|\s*\n\s*"
    r"|(?<=[。\uff01\uff1f])"
)
# "Dr. Smith" is one sentence.
ABBREVIATIONS = re.compile(
    r"(?:^|[\s(\"'])(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|No|approx|e\.g|i\.e|[A-Z])\.$"
)
# Longer sentences are cut at the last of these that fits, the first kind that there is.
PAUSES = (";:,、\uff0c\uff1b\uff1a", " \t")


def split(text: str, longest: int = 300) -> list[str]:
    """The sentences of `text` in order, none longer than `longest` characters.

    Together they hold every character of `text` but white space; none is empty.
    """
    return [piece for sentence in _sentences(text) for piece in _pieces(sentence, longest)]


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for end in ENDS.finditer(text):
        sentence = text[start : end.end()].strip()
        is_abbreviated = ABBREVIATIONS.search(sentence) and "\n" not in end.group()
        if sentence and not is_abbreviated:
            yield sentence
            start = end.end()
    if rest := text[start:].strip():
        yield rest


def _pieces(sentence: str, longest: int) -> Iterator[str]:
    while len(sentence) > longest:
        cut = _cut(sentence, longest)
        # A cut in mid-space leaves nothing but space behind; that is no piece.
        if piece := sentence[:cut].strip():
            yield piece
        sentence = sentence[cut:].strip()
    if sentence:
        yield sentence


def _cut(sentence: str, longest: int) -> int:
    """How many characters to take: up to a pause in the second half, else as many as fit."""
    for marks in PAUSES:
        cut = 1 + max(sentence.rfind(mark, longest // 2, longest) for mark in marks)
        if cut:
            return cut
    return longest
