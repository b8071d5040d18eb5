"""Answers that keep to a grammar: JSON by a schema, or a call of one of the tools (xgrammar)."""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xgrammar

# Compiled grammars that are kept; a large schema takes a second to compile.
KEPT = 64
WORD = 32


class Grammars:
    """Compiles grammars for one tokenizer, whose vocabulary has `width` logits."""

    def __init__(self, tokenizer: Any, width: int, ends: list[int], threads: int) -> None:
        self.width = width
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=width, stop_token_ids=ends
        )
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=threads)
        self.not_the_end = ~self.bits(ends)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def bits(self, tokens: Sequence[int]) -> torch.Tensor:
        """A bit for each token of the vocabulary, in words of 32; those of `tokens` are set."""
        words = np.zeros(-(-self.width // WORD), dtype=np.uint32)
        for token in tokens:
            words[token // WORD] |= np.uint32(1 << token % WORD)
        return torch.from_numpy(words.view(np.int32))

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
        self._grammars = grammars
        self._thoughts = thoughts
        self._first = None if thoughts is None or opened else thoughts[0]

    def allowed(self) -> torch.Tensor | None:
        """See Constraint."""
        if self._first is not None:
            return self._grammars.bits([self._first])
        if self._thoughts is not None:
            return self._grammars.not_the_end
        return self._mask[0] if self._matcher.fill_next_token_bitmask(self._mask) else None

    def accept(self, token: int) -> None:
        """Hear which token came."""
        if self._first is not None:
            self._first = None
        elif self._thoughts is not None:
            if token == self._thoughts[1]:
                self._thoughts = None
        elif not self._matcher.is_terminated():
            self._matcher.accept_token(token)
