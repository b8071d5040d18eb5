"""A tokenizer as an engine of text needs it: prompts in, pieces of text out."""

import json
import re
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
from tokenizers.decoders import DecodeStream
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from inference.errors import InvalidRequest
from inference.text.dialect import THINK, THOUGHT, as_text, introduction, syntax_of
from inference.types import ChatRequest

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
LITTLE_THOUGHT = {"none", "minimal"}


class Vocabulary:
    """The tokenizer and chat template of a model in `folder`. Any thread may use it."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        # Only this may be called from several threads at once.
        self._backend = self.tokenizer.backend_tokenizer
        template = self.tokenizer.chat_template
        self.template: str = template.get("default", "") if isinstance(template, dict) else template
        self.syntax = syntax_of(self.template or "")
        model = json.loads(self._backend.to_str())
        self._byte_level = "ByteLevel" in json.dumps(model.get("decoder"))

    # Prompts

    @cached_property
    def thoughts(self) -> tuple[int, int] | None:
        """The tokens that begin and end thoughts, for a model that writes its thoughts down."""
        ids = [self._backend.token_to_id(marker) for marker in (THINK, THOUGHT)]
        if None in ids or THOUGHT not in (self.template or ""):
            return None
        return ids[0], ids[1]

    @cached_property
    def knows_tools(self) -> bool:
        """Whether the template can describe tools."""
        parsed = jinja2.Environment(
            extensions=["jinja2.ext.loopcontrols"],
            autoescape=False,  # noqa: S701
        ).parse(self.template.replace("{% generation %}", "").replace("{% endgeneration %}", ""))
        return "tools" in jinja2.meta.find_undeclared_variables(parsed)

    def encode(self, text: str, *, bare: bool) -> list[int]:
        """Tokens; a `bare` text has no template to begin it, so the tokenizer does."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=bare).ids
        return ids

    def render(self, request: ChatRequest, messages: list[dict[str, Any]]) -> str:
        """The prompt by the chat template; raises InvalidRequest for what it can't say."""
        if not self.template:
            raise InvalidRequest("This model has no chat template: use /completions.")
        messages = [_plain(message) for message in messages]
        tools = [] if request.tool_choice == "none" else request.tools
        if self.knows_tools:
            messages = [self._with_arguments(message) for message in messages]
        else:
            messages = [as_text(message, self.syntax) for message in messages]
            if tools:
                messages = _introduced(messages, introduction(tools, self.syntax))
        options: dict[str, Any] = {}
        if request.reasoning_effort is not None:
            options["reasoning_effort"] = request.reasoning_effort
            options["enable_thinking"] = request.reasoning_effort not in LITTLE_THOUGHT
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages,
                tools=(tools or None) if self.knows_tools else None,
                chat_template=self.template,
                add_generation_prompt=True,
                tokenize=False,
                **options,
            )
        except (jinja2.TemplateError, TypeError, KeyError) as error:
            raise InvalidRequest(
                f"The model's chat template can't take these messages: {error}", param="messages"
            ) from error
        return text

    def _with_arguments(self, message: dict[str, Any]) -> dict[str, Any]:
        """Arguments of calls as values, which most templates want; OpenAI's are text."""
        if not message.get("tool_calls") or self.syntax == "deepseek":
            return message
        calls = []
        for call in message["tool_calls"]:
            function = dict(call["function"])
            # What the model once wrote wrong stays as it was.
            with suppress(ValueError):
                function["arguments"] = json.loads(function["arguments"])
            calls.append({**call, "function": function})
        return {**message, "tool_calls": calls}

    # Answers

    def stream(self) -> "TextStream":
        """Turns one answer's tokens into text."""
        return TextStream(self._backend)

    def text(self, token: int) -> str:
        """What one token says; half a character is a replacement character."""
        text: str = self._backend.decode([token], skip_special_tokens=False)
        return text

    def bytes(self, token: int) -> list[int]:
        """The bytes of one token."""
        name = self._backend.id_to_token(token) or ""
        if match := BYTE_TOKEN.fullmatch(name):
            return [int(match[1], 16)]
        if self._byte_level and all(character in BYTES for character in name):
            return [BYTES[character] for character in name]
        return list(self.text(token).encode())


BYTES = {character: byte for byte, character in bytes_to_unicode().items()}


class TextStream:
    """One answer's text, token by token."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._stream = DecodeStream(skip_special_tokens=True)

    def step(self, token: int) -> str:
        """The text that is certain with this token; empty within a character."""
        try:
            text = self._stream.step(self._backend, token)
        except Exception:  # tokenizers has no class of its own for it
            # Bytes that make no character change what those before them say, where a tokenizer
            # writes unknown characters as bytes (Gemma). What was told stays, and we go on.
            self._stream = DecodeStream(skip_special_tokens=True)
            text = self._stream.step(self._backend, token)
        return text or ""


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose content is text."""
    content = message.get("content")
    if not isinstance(content, list):
        return {**message, "content": content or ""}
    other = [part["type"] for part in content if part.get("type") not in ("text", "refusal")]
    if other:
        raise InvalidRequest(
            f"This model reads text only, and a message has a part of type {other[0]}.",
            param="messages",
        )
    return {**message, "content": "".join(part.get("text", "") for part in content)}


def _introduced(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    if messages and messages[0]["role"] == "system":
        first = messages[0]["content"]
        return [{"role": "system", "content": f"{first}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
