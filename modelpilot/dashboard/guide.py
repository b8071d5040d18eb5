"""The API guide: the Markdown of docs/api/, read once, and dressed for its reader.

Samples follow each other in fences of `curl`, `python` and `javascript`: those that stand
together become one box with a tab for each. Words in capitals such as TEXT_MODEL are put in when
a page is shown; `tests/api/test_docs_samples.py` runs the same samples with words of its own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import count, groupby, pairwise
from typing import Any

from django.conf import settings
from django.utils.text import slugify
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, String

FOLDER = settings.BASE_DIR / "docs" / "api"
LANGUAGES = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}
LEXERS = {"curl": "bash", "http": "text", "": "text"}
# The sidebar: its groups and their pages.
CONTENTS: dict[str, tuple[str, ...]] = {
    "Start": ("quickstart", "authentication", "errors", "limits"),
    "Generate": (
        "chat",
        "completions",
        "embeddings",
        "images",
        "videos",
        "speech",
        "transcriptions",
    ),
    "Jobs": ("jobs", "idempotency", "webhooks"),
    "Account": ("billing", "usage"),
}
FIRST = "quickstart"
# Of several tabs, the one that is chosen is reached by the Tab key, the others by arrows.
UNTABBED = ' tabindex="-1"'
# What a page says in place of these words; see `views.words`.
WORDS = (
    "API_URL",
    "YOUR_KEY",
    "TEXT_MODEL",
    "IMAGE_MODEL",
    "VIDEO_MODEL",
    "AUDIO_MODEL",
    "EMBEDDING_MODEL",
    "TRANSCRIPTION_MODEL",
)
WORD = re.compile("|".join(WORDS))
COLOURS = {
    String: "s",
    Keyword: "k",
    Comment: "c",
    Number: "m",
    Name.Builtin: "k",
    Name.Tag: "t",
    Name.Variable: "m",
}
markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a page, as it is written: with the words in capitals."""

    language: str
    code: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the guide. `sections` are its second headings with their anchors."""

    name: str
    title: str
    html: str
    sections: list[tuple[str, str]]
    samples: list[Sample]

    def shown(self, words: Mapping[str, str]) -> str:
        """The HTML with its reader's address, key and models."""
        return filled(self.html, {word: escape(text) for word, text in words.items()})


def filled(text: str, words: Mapping[str, str]) -> str:
    return WORD.sub(lambda found: words[found[0]], text)


@cache
def page(name: str) -> Page:
    """One of CONTENTS; raises KeyError for any other name."""
    if not any(name in names for names in CONTENTS.values()):
        raise KeyError(name)
    tokens = markdown.parse((FOLDER / f"{name}.md").read_text(encoding="utf-8"))
    title, sections = headings(tokens)
    samples = [
        Sample(token.info, token.content)
        for token in tokens
        if token.type == "fence" and token.info in LANGUAGES
    ]
    return Page(name, title, html(tokens), sections, samples)


@cache
def contents() -> list[tuple[str, list[Page]]]:
    return [(group, [page(name) for name in names]) for group, names in CONTENTS.items()]


def headings(tokens: Sequence[Token]) -> tuple[str, list[tuple[str, str]]]:
    """The title and the sections; these and smaller headings get anchors."""
    title, sections = "", []
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or ())
        if opening.tag == "h1":
            title = text
            continue
        opening.attrSet("id", slugify(text))
        if opening.tag == "h2":
            sections.append((slugify(text), text))
    return title, sections


def html(tokens: Sequence[Token]) -> str:
    """The page's body: prose as Markdown has it, samples in boxes."""
    out: list[str] = []
    prose: list[Token] = []
    fences: list[Token] = []
    numbers = count(1)
    for token in tokens:
        together = token.type == "fence" and token.info in LANGUAGES
        if fences and (not together or any(token.info == each.info for each in fences)):
            out.append(tabs(fences, next(numbers)))
            fences = []
        if token.type != "fence":
            prose.append(token)
            continue
        out.append(rendered(prose))
        prose = []
        if together:
            fences.append(token)
        else:
            out.append(f'<div class="code"><pre tabindex="0">{coloured(token)}</pre></div>\n')
    if fences:
        out.append(tabs(fences, next(numbers)))
    out.append(rendered(prose))
    return "".join(out)


def rendered(prose: Sequence[Token]) -> str:
    text = str(markdown.renderer.render(prose, markdown.options, {}))
    # A table that is too wide for a phone is moved by itself.
    return text.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace(
        "</table>", "</table></div>"
    )


def coloured(fence: Token) -> str:
    """The sample with its keywords, texts, numbers and comments marked."""
    lexer = get_lexer_by_name(LEXERS.get(fence.info, fence.info))
    parts = ((colour(kind), text) for kind, text in lexer.get_tokens(fence.content))
    marked = [
        (name, escape("".join(text for _, text in run))) for name, run in groupby(parts, first)
    ]
    return "".join(
        f'<i class="{name}">{text}</i>' if name else text for name, text in marked
    ).rstrip("\n")


def first(part: tuple[str, str]) -> str:
    return part[0]


def colour(kind: Any) -> str:
    """The class of a kind of token; most have none."""
    return next((name for parent, name in COLOURS.items() if kind in parent), "")


def tabs(fences: Sequence[Token], number: int) -> str:
    """Samples that say the same, of which one is seen at a time (see static/modelpilot/tabs.js)."""
    heads, bodies = [], []
    for place, fence in enumerate(fences):
        language, name = fence.info, f"sample-{number}-{fence.info}"
        chosen = "true" if place == 0 else "false"
        heads.append(
            f'<button type="button" role="tab" id="{name}-tab" aria-controls="{name}" '
            f'aria-selected="{chosen}" data-language="{language}"'
            f"{'' if place == 0 else UNTABBED}>{LANGUAGES[language]}</button>"
        )
        bodies.append(
            f'<div role="tabpanel" id="{name}" aria-labelledby="{name}-tab"'
            f"{'' if place == 0 else ' hidden'}>"
            f'<button type="button" class="button quiet small copy" data-copy="#{name}-code">'
            f"<span data-label>Copy</span></button>"
            f'<pre id="{name}-code" tabindex="0">{coloured(fence)}</pre></div>'
        )
    return (
        '<div class="code sample"><div class="code-head"><div class="tabs inline" role="tablist" '
        f'aria-label="Language">{"".join(heads)}</div></div>{"".join(bodies)}</div>\n'
    )
