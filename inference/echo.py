"""A model without weights: it says the user's words over and over, at a fixed pace.

It is the engine of tests and benchmarks, so it is cheap: one thread paces all
requests as a batching engine does, each tick giving every request one token.
"""

import os
import re
import threading
import time
from dataclasses import dataclass, field
from itertools import cycle, islice

from inference.catalog import Card
from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest
from inference.types import ChatRequest, Delta, Device, Emit, Engine, Result
from inference.weights import Weights

TOKEN = re.compile(r"\S+ ?")
DEFAULT_TOKENS = 16
AN_HOUR = 3600.0


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """An echo; `options`: `tokens_per_second` (0: no pause), `faults`, `load_seconds`."""
    time.sleep(card.options.get("load_seconds", 0))
    return Echo(card)


class Echo:
    """Repeats the last user message's words (or a bare prompt's) until `max_tokens` words."""

    def __init__(self, card: Card) -> None:
        self.slots = card.slots
        self._context = card.context
        self._faults = bool(card.options.get("faults", False))
        pace = card.options.get("tokens_per_second", 0)
        self._pacer = Pacer(1 / pace) if pace else None

    def generate(self, request: ChatRequest, emit: Emit) -> Result:
        """Emit one Delta per token and answer; raises whatever `emit` raises."""
        if self._faults:
            _fail_on_purpose(_last_words(request))
        self._check(request)
        tokens, finish_reason = _answer(request)
        reply = Reply(tokens, request.n, emit)
        if self._pacer is None:
            while reply.step():
                pass
        else:
            self._pacer.run(reply)
        if reply.failure is not None:
            raise reply.failure
        return _result(request, tokens, finish_reason)

    def close(self) -> None:
        """Stop the pacing thread; running requests fail."""
        if self._pacer is not None:
            self._pacer.stop()

    def _check(self, request: ChatRequest) -> None:
        if not _last_words(request).strip():
            raise InvalidRequest("There is no user message to echo.", param=request.asked_in)
        tokens = _prompt_tokens(request)
        if self._context is not None and tokens > self._context:
            raise ContextLengthExceeded(
                f"The prompt has {tokens} tokens, but the model's context is "
                f"{self._context} tokens. Shorten the {request.asked_in}.",
                param=request.asked_in,
            )


@dataclass(slots=True)
class Reply:
    """The tokens that one request still has to say, and who listens."""

    tokens: list[str]
    n: int
    emit: Emit
    said: int = 0
    failure: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def step(self) -> bool:
        """Say one token of each of the `n` answers; False when there is nothing more to say."""
        if self.said == len(self.tokens):
            return False
        try:
            for index in range(self.n):
                self.emit(Delta(self.tokens[self.said], index))
        except BaseException as error:
            self.failure = error
            return False
        self.said += 1
        return self.said < len(self.tokens)


class Pacer:
    """One thread that gives every running reply a token each `period` seconds."""

    def __init__(self, period: float) -> None:
        self._period = period
        self._replies: list[Reply] = []
        self._changed = threading.Condition()
        self._stopped = False
        threading.Thread(target=self._work, name="echo", daemon=True).start()

    def run(self, reply: Reply) -> None:
        """Return when `reply` has been said or has failed."""
        with self._changed:
            if self._stopped:
                raise InferenceError("The model was stopped.")
            self._replies.append(reply)
            self._changed.notify()
        reply.done.wait()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _work(self) -> None:
        due = time.monotonic()
        while self._wait_for_replies():
            # On average the pace holds: a late tick shortens the next pause. But a clock
            # that was idle for a while does not catch up.
            due = max(due + self._period, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            self._tick()
        for reply in self._replies:
            reply.failure = InferenceError("The model was stopped.")
            reply.done.set()

    def _wait_for_replies(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._replies or self._stopped)
            return not self._stopped

    def _tick(self) -> None:
        with self._changed:
            replies = list(self._replies)
        # Emitting happens outside the lock, so that nobody has to wait to start.
        finished = [reply for reply in replies if not reply.step()]
        with self._changed:
            for reply in finished:
                self._replies.remove(reply)
        for reply in finished:
            reply.done.set()


def _answer(request: ChatRequest) -> tuple[list[str], str]:
    """The tokens to say, and why they end."""
    words = (f"{word} " for word in cycle(_last_words(request).split()))
    tokens = list(islice(words, request.max_tokens or DEFAULT_TOKENS))
    text = "".join(tokens)
    ends = [found for stop in request.stop if stop and (found := text.find(stop)) >= 0]
    if not ends:
        return tokens, "length"
    return TOKEN.findall(text[: min(ends)]), "stop"


def _last_words(request: ChatRequest) -> str:
    if request.prompt is not None:
        return request.prompt
    said = [_text(m["content"]) for m in request.messages if m["role"] == "user"]
    return said[-1] if said else ""


def _text(content: str | list[dict[str, str]] | None) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return content or ""


def _prompt_tokens(request: ChatRequest) -> int:
    if request.prompt is not None:
        return len(request.prompt.split())
    return sum(len(_text(message["content"]).split()) for message in request.messages)


def _result(request: ChatRequest, tokens: list[str], finish_reason: str) -> Result:
    text = "".join(tokens)
    choices = [
        {"index": index, "text": text, "finish_reason": finish_reason} for index in range(request.n)
    ]
    prompt, completion = _prompt_tokens(request), len(tokens) * request.n
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    return Result({"choices": choices, "usage": usage})


def _fail_on_purpose(words: str) -> None:
    """What chaos tests ask for: a crash, a hang that hears no cancel, an error."""
    if words == "[exit]":
        os._exit(1)
    if words == "[hang]":
        time.sleep(AN_HOUR)
    if words == "[error]":
        raise InferenceError("The echo was asked to fail.")
