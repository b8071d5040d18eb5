"""How a model writes what is not its answer: thoughts and calls of tools.

A `Splitter` takes the text as it comes and says what each piece is a part of.
"""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from inference.types import Call

THINK, THOUGHT = "<think>", "</think>"

# Hermes (also Qwen): <tool_call>{"name": …, "arguments": …}</tool_call>. DeepSeek: its own tokens
# round a name and JSON. Llama: the JSON alone, with "parameters".
Syntax = Literal["hermes", "deepseek", "llama"]

BEGIN = {"hermes": "<tool_call>", "deepseek": "<｜tool▁call▁begin｜>", "llama": "{"}
END = {"hermes": "</tool_call>", "deepseek": "<｜tool▁call▁end｜>", "llama": ""}
# DeepSeek's brackets round all calls say nothing.
SILENT = {
    "hermes": (),
    "deepseek": ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    "llama": (),
}
_NAME = r'"((?:[^"\\]|\\.)*)"'
_JSON = re.compile(
    rf'\s*\{{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*{_NAME}\s*,\s*'
    r'"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
_DEEPSEEK = re.compile(
    r"\s*(?:function<｜tool▁sep｜>([^\n<]+)\n```json\n|([^\n<]+)<｜tool▁sep｜>)\s*(?=\{)"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a part, named as in `types.Delta`; the first of a call brings that."""

    part: str
    text: str
    call: Call | None = None


def written(syntax: Syntax, name: str) -> tuple[str, str]:
    """What stands before and behind the arguments of a call, as the model writes it."""
    quoted = json.dumps(name, ensure_ascii=False)
    if syntax == "hermes":
        return f'<tool_call>\n{{"name": {quoted}, "arguments": ', "}\n</tool_call>"
    if syntax == "llama":
        return f'{{"name": {quoted}, "parameters": ', "}"
    begin = f"{BEGIN[syntax]}function<｜tool▁sep｜>{name}\n```json\n"
    return begin, f"\n```{END[syntax]}"


class Splitter:
    """Splits one answer. `thinks`: it may begin with <think>; `opened`: the prompt has opened that
    already. `syntax` is how calls are written; None: there are no tools."""

    def __init__(self, *, thinks: bool, opened: bool, syntax: Syntax | None) -> None:
        self._syntax = syntax
        self._mode: Literal["start", "reasoning", "content", "call"] = (
            "reasoning" if opened else "start" if thinks else "content"
        )
        # What may be the beginning of something else.
        self._held = ""
        # Whether the part has shown something: the space before that is not part of it.
        self._bare = self._mode != "content" or syntax is not None
        self._call: _CallReader | None = None
        self.calls = 0

    @property
    def reasoning(self) -> bool:
        """Whether what comes next is a thought, as far as one knows."""
        return self._mode == "reasoning"

    @property
    def calling(self) -> bool:
        """Whether what comes next belongs to a call."""
        return self._mode == "call"

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain with this text."""
        self._held += text
        pieces: list[Piece] = []
        while self._advance(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back, once nothing more comes."""
        pieces: list[Piece] = []
        if self._mode == "call" and self._call is not None:
            self._close_call(pieces, complete=False)
        elif self._mode == "reasoning":
            self._say(pieces, "reasoning", self._held.rstrip())
        elif self._held.strip() or not (self._bare or self.calls):
            self._say(pieces, "content", self._held)
        self._held = ""
        return pieces

    def _advance(self, pieces: list[Piece]) -> bool:
        """One step; True if there may be another."""
        if self._mode == "start":
            return self._start()
        if self._mode == "reasoning":
            return self._until_marker(pieces, "reasoning", [THOUGHT])
        if self._mode == "content":
            return self._content(pieces)
        return self._in_call(pieces)

    def _start(self) -> bool:
        begun = self._held.lstrip()
        if begun.startswith(THINK):
            self._held, self._mode = begun.removeprefix(THINK), "reasoning"
            return True
        if THINK.startswith(begun):
            return False
        self._mode, self._bare = "content", self._syntax is not None
        return True

    def _content(self, pieces: list[Piece]) -> bool:
        if self._syntax is None:
            self._say(pieces, "content", self._held)
            self._held = ""
            return False
        if self._syntax == "llama":
            return self._bare_json(pieces)
        return self._until_marker(pieces, "content", [BEGIN[self._syntax], *SILENT[self._syntax]])

    def _bare_json(self, pieces: list[Piece]) -> bool:
        """Llama's calls have no marker: an answer that begins like one may be one."""
        begun = self._held.lstrip(" \n;" if self.calls else None)
        if not begun:
            return False
        if self._bare and begun.startswith("{"):
            self._held, self._mode = begun, "call"
            self._call = _CallReader("llama", self.calls)
            return True
        self._say(pieces, "content", self._held)
        self._held = ""
        return False

    def _until_marker(self, pieces: list[Piece], part: str, markers: list[str]) -> bool:
        places = [(self._held.find(m), m) for m in markers if m in self._held]
        if not places:
            keep = max(_overlap(self._held, marker) for marker in markers)
            certain = self._held[: len(self._held) - keep].rstrip()
            self._say(pieces, part, certain)
            self._held = self._held[len(certain) :]
            return False
        place, marker = min(places)
        self._say(pieces, part, self._held[:place].rstrip())
        self._held = self._held[place + len(marker) :]
        if part == "reasoning":
            self._mode, self._bare = "content", True
        elif self._syntax is not None and marker == BEGIN[self._syntax]:
            self._mode, self._call = "call", _CallReader(self._syntax, self.calls)
        return True

    def _say(self, pieces: list[Piece], part: str, text: str) -> None:
        if self._bare:
            text = text.lstrip()
        if text:
            self._bare = False
            pieces.append(Piece(part, text))

    def _in_call(self, pieces: list[Piece]) -> bool:
        reader = self._call
        assert reader is not None
        end = END[reader.syntax]
        place = self._held.find(end) if end else -1
        if end and place < 0:
            keep = _overlap(self._held, end)
            reader.feed(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
        elif end:
            reader.feed(self._held[:place])
            self._held = self._held[place + len(end) :]
        else:
            reader.feed(self._held)
            self._held = ""
            if reader.closed:
                self._held, place = reader.behind(), 0
        pieces += reader.pieces()
        if place < 0:
            return False
        self._close_call(pieces, complete=True)
        return True

    def _close_call(self, pieces: list[Piece], *, complete: bool) -> None:
        reader, self._call = self._call, None
        assert reader is not None
        if not complete:
            reader.feed(self._held)
            pieces += reader.pieces()
        self._mode = "content"
        if reader.call is None and (found := reader.whole()):
            pieces += found
            self.calls += len(found)
        elif reader.call is not None:
            self.calls += 1
        else:
            # Not a call after all: what it wrote is the answer.
            closing = END[reader.syntax] if complete else ""
            opening = "" if reader.syntax == "llama" else BEGIN[reader.syntax]
            self._say(pieces, "content", opening + reader.text + closing)
        # Space between calls is nobody's.
        self._bare = self._bare or reader.call is not None


class _CallReader:
    """Reads one call: its name first, then its arguments as they come."""

    def __init__(self, syntax: Syntax, number: int) -> None:
        self.syntax, self._number = syntax, number
        self.text = ""
        self.call: Call | None = None
        self._at = 0  # what of the text has been looked at
        self._depth, self._quoted, self._escaped = 0, False, False
        self._news: list[Piece] = []
        self._arguments_over = False

    def feed(self, text: str) -> None:
        self.text += text
        if self.call is None:
            header = (_DEEPSEEK if self.syntax == "deepseek" else _JSON).match(self.text)
            if header is None:
                return
            name = next(group for group in header.groups() if group is not None)
            if self.syntax != "deepseek":
                name = json.loads(f'"{name}"')
            self.call = new_call(name)
            self._news.append(Piece(self._part, "", self.call))
            self._at = header.end()
        start = self._at
        while self._at < len(self.text) and not self._arguments_over:
            self._look(self.text[self._at])
            self._at += 1
        if self._at > start:
            self._news.append(Piece(self._part, self.text[start : self._at]))

    @property
    def _part(self) -> str:
        return f"call.{self._number}"

    def _look(self, character: str) -> None:
        """Follow the JSON as far as to know where it ends."""
        if self._escaped:
            self._escaped = False
        elif self._quoted:
            self._escaped = character == "\\"
            self._quoted = character != '"'
        elif character == '"':
            self._quoted = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self._arguments_over = self._depth == 0

    @property
    def closed(self) -> bool:
        """Whether a call without end marker is complete: its own brace is closed too."""
        return self._arguments_over and "}" in self.text[self._at :]

    def behind(self) -> str:
        """What follows a call without end marker."""
        return self.text[self._at :].partition("}")[2]

    def pieces(self) -> list[Piece]:
        news, self._news = self._news, []
        return news

    def whole(self) -> list[Piece]:
        """The call (or list of them) in another order of its fields; empty if it is none."""
        try:
            value = json.loads(self.text)
        except ValueError:
            return []
        found = []
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                return []
            arguments = item.get("arguments", item.get("parameters", {}))
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            part = f"call.{self._number + number}"
            found.append(Piece(part, text, new_call(item["name"])))
        return found


def new_call(name: str) -> Call:
    """A call of a tool, with an id of its own."""
    return Call(f"call_{secrets.token_urlsafe(18)}", name)


def _overlap(text: str, marker: str) -> int:
    """How many characters at the end of `text` may be the beginning of `marker`."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0


def syntax_of(template: str) -> Syntax:
    """How a model whose chat template this is writes calls."""
    if "<tool_call>" in template:
        return "hermes"
    if BEGIN["deepseek"] in template:
        return "deepseek"
    if '"parameters"' in template and "tools" in template:
        return "llama"
    return "hermes"


def as_text(message: dict[str, Any], syntax: Syntax) -> dict[str, Any]:
    """A message with its calls, or the answer to one, in words, for templates without tools."""
    if message["role"] == "tool":
        return {
            "role": "user",
            "content": f"<tool_response>\n{message['content']}\n</tool_response>",
        }
    calls = message.get("tool_calls") or []
    if not calls:
        return message
    texts = []
    for call in calls:
        begin, end = written(syntax, call["function"]["name"])
        texts.append(begin + call["function"]["arguments"] + end)
    said = [message["content"]] if message.get("content") else []
    return {"role": message["role"], "content": "\n".join([*said, *texts])}


def introduction(tools: list[dict[str, Any]], syntax: Syntax) -> str:
    """What a system message says of the tools, where the template says nothing."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    begin, end = written(syntax, "NAME")
    return (
        f"You may call these functions, described in JSON:\n{lines}\n"
        f"To call one, answer with its name and its arguments as JSON, and nothing else:\n"
        f"{begin}ARGUMENTS{end}"
    )
