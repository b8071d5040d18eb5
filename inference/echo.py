"""A model without weights: it says the user's words over and over, at a fixed pace.

It is the engine of tests and benchmarks, so it is cheap: one thread paces all
requests as a batching engine does, each tick giving every request one token.
Words between <think> and </think> are its thoughts. Where the request has tools, it calls
each one that the user names, with the words up to the next name as its arguments; and where it
must call one but none was named, the first, with the user's words.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any

from inference.catalog import Card
from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest
from inference.types import Call, ChatRequest, Delta, Device, Emit, Engine, Read, Result
from inference.weights import Weights

TOKEN = re.compile(r"\S+ ?")
THOUGHTS = re.compile(r"<think>(.*?)</think>\s*", re.DOTALL)
DEFAULT_TOKENS = 16
AN_HOUR = 3600.0


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """An echo; `options`: `tokens_per_second` (0: no pause), `faults`, `load_seconds`."""
    time.sleep(card.options.get("load_seconds", 0))
    return Echo(card)


class Echo:
    """Repeats the last user message's words (or a bare prompt's) until `max_tokens` words, or the
    end of its context."""

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
        prompt = self._checked(request)
        tokens, finish_reason = _answer(request, self._most(request, prompt))
        emit(Read(prompt))
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

    def _most(self, request: ChatRequest, prompt: int) -> int:
        """How many tokens the answer to a prompt of so many may have."""
        most = request.max_tokens or DEFAULT_TOKENS
        return most if self._context is None else min(most, self._context - prompt)

    def _checked(self, request: ChatRequest) -> int:
        """The prompt's tokens; InvalidRequest or ContextLengthExceeded if there is no answer."""
        if not _last_words(request).strip():
            raise InvalidRequest("There is no user message to echo.", param=request.asked_in)
        tokens = _prompt_tokens(request)
        if self._context is not None and tokens >= self._context:
            raise ContextLengthExceeded(
                f"The prompt has {tokens} tokens, but the model's context is "
                f"{self._context} tokens. Shorten the {request.asked_in}.",
                param=request.asked_in,
            )
        return tokens


@dataclass(slots=True)
class Reply:
    """The tokens that one request still has to say, and who listens."""

    tokens: list[Delta]
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
                token = self.tokens[self.said]
                self.emit(replace(token, index=index) if index else token)
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


def _answer(request: ChatRequest, most: int) -> tuple[list[Delta], str]:
    """The tokens to say, `most` at most, and why they end."""
    words = _last_words(request)
    thoughts = [] if request.prompt is not None else THOUGHTS.findall(words)
    words = THOUGHTS.sub("", words) if thoughts else words
    thought = [] if request.reasoning_effort == "none" else _tokens(" ".join(thoughts))
    begun = [Delta(token, part="reasoning") for token in thought[:most]]
    calls = list(_calls(request, words))
    if calls:
        said = [*begun, *calls]
        return said[:most], "tool_calls" if len(said) <= most else "length"
    texts, finish_reason = _content(words, request.stop, most - len(begun))
    logprobs = request.top_logprobs if request.logprobs else None
    return [*begun, *(Delta(t, logprobs=_logprobs(t, logprobs)) for t in texts)], finish_reason


def _content(words: str, stops: list[str], most: int) -> tuple[list[str], str]:
    tokens = list(islice((f"{word} " for word in cycle(words.split())), most))
    text = "".join(tokens)
    ends = [found for stop in stops if stop and (found := text.find(stop)) >= 0]
    if not ends:
        return tokens, "length"
    return _tokens(text[: min(ends)]), "stop"


def _tokens(text: str) -> list[str]:
    return TOKEN.findall(text)


def _calls(request: ChatRequest, words: str) -> Iterator[Delta]:
    """The tokens of the calls that the user wants; none where a tool has just answered."""
    names = [tool["function"]["name"] for tool in request.tools]
    if not names or request.messages[-1]["role"] == "tool":
        return
    choice = request.tool_choice
    if isinstance(choice, dict):
        names = [choice["function"]["name"]]
    named = re.split(rf"\b({'|'.join(map(re.escape, names))})\b", words)[1:]
    calls = list(zip(named[::2], named[1::2], strict=True))
    if not calls and choice not in (None, "auto"):
        calls = [(names[0], json.dumps({"words": words}))]
    for number, (name, arguments) in enumerate(calls):
        part, call = f"call.{number}", Call(f"call_{number}_{name}", name)
        yield Delta("", part=part, call=call)
        for token in _tokens(arguments.strip()):
            yield Delta(token, part=part, call=call)


def _logprobs(token: str, top: int | None) -> list[dict[str, Any]]:
    """An echo is sure of what it says."""
    if top is None:
        return []
    known = {"token": token, "logprob": 0.0, "bytes": list(token.encode())}
    return [{**known, "top_logprobs": [known] if top else []}]


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


def _result(request: ChatRequest, tokens: list[Delta], finish_reason: str) -> Result:
    choice = {**_choice(tokens), "finish_reason": finish_reason}
    prompt, completion = _prompt_tokens(request), len(tokens) * request.n
    thought = sum(token.part == "reasoning" for token in tokens) * request.n
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    choices = [{"index": index, **choice} for index in range(request.n)]
    return Result({"choices": choices, "usage": usage})


def _choice(tokens: list[Delta]) -> dict[str, Any]:
    texts: dict[str, str] = {"content": ""}
    calls: dict[str, Call] = {}
    for token in tokens:
        texts[token.part] = texts.get(token.part, "") + token.text
        if token.call:
            calls[token.part] = token.call
    choice: dict[str, Any] = {"text": texts["content"]}
    if "reasoning" in texts:
        choice["reasoning"] = texts["reasoning"]
    if calls:
        choice["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": texts[part]},
            }
            for part, call in calls.items()
        ]
    if logprobs := [entry for token in tokens for entry in token.logprobs]:
        choice["logprobs"] = {"content": logprobs}
    return choice


def _fail_on_purpose(words: str) -> None:
    """What chaos tests ask for: a crash, a hang that hears no cancel, an error."""
    if words == "[exit]":
        os._exit(1)
    if words == "[hang]":
        time.sleep(AN_HOUR)
    if words == "[error]":
        raise InferenceError("The echo was asked to fail.")
