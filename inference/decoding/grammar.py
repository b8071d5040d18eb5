"""Answers that keep to a grammar: JSON by a schema, or a call of one of the tools (xgrammar)."""

import json
import re
import threading
from collections import OrderedDict
from typing import Any

import torch
import xgrammar

# Compiled grammars that are kept; a large schema takes a second to compile.
KEPT = 64
BITS = torch.arange(32, dtype=torch.int32)


class Grammars:
    """Compiles grammars for one tokenizer, whose vocabulary has `width` logits."""

    def __init__(self, tokenizer: Any, width: int, ends: list[int], threads: int) -> None:
        self.width, self.ends = width, ends
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=width, stop_token_ids=ends
        )
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=threads)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def compile(self, form: dict[str, Any]) -> Any:
        """A grammar from a JSON schema, or from `{"structural_tag": …}`.

        Raises ValueError for one that can't be.
        """
        key = json.dumps(form)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._compile(form)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def _compile(self, form: dict[str, Any]) -> Any:
        try:
            if "structural_tag" in form:
                return self._compiler.compile_structural_tag(form["structural_tag"])
            # Where any space may come, a small model writes spaces without end.
            return self._compiler.compile_json_schema(json.dumps(form), any_whitespace=False)
        except (RuntimeError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """The first line, without the time and the place in xgrammar's source."""
    first = next(iter(str(error).splitlines()), "")
    return re.sub(r"^\[[\d:]+\] \S+: ", "", first).strip()


class Grammar:
    """What one answer may say. With `thoughts`, the ids of <think> and </think>, it thinks first:
    what it thinks is free, and only then the grammar begins. `opened`: it thinks already."""

    def __init__(
        self, grammars: Grammars, compiled: Any, thoughts: tuple[int, int] | None, opened: bool
    ) -> None:
        self._matcher = xgrammar.GrammarMatcher(compiled)
        self._mask = xgrammar.allocate_token_bitmask(1, grammars.width)
        self._width, self._ends = grammars.width, grammars.ends
        self._thoughts = thoughts
        self._first = None if thoughts is None or opened else thoughts[0]

    def restrict(self, logits: torch.Tensor) -> None:
        """Set what may not come next to minus infinity."""
        if self._first is not None:
            begin = logits[self._first].clone()
            logits.fill_(-torch.inf)
            logits[self._first] = begin
        elif self._thoughts is not None:
            logits[self._ends] = -torch.inf
        elif self._matcher.fill_next_token_bitmask(self._mask):
            allowed = ((self._mask[0, :, None] >> BITS) & 1).bool().flatten()[: self._width]
            logits.masked_fill_(~allowed.to(logits.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Hear which token came."""
        if self._first is not None:
            self._first = None
        elif self._thoughts is not None:
            if token == self._thoughts[1]:
                self._thoughts = None
        elif not self._matcher.is_terminated():
            self._matcher.accept_token(token)
