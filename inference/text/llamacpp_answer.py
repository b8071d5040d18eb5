"""What llama.cpp says to one request: its chunks, which are OpenAI's as JSON, become events."""

import json
from dataclasses import dataclass, field
from typing import Any

from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest
from inference.text.forced_calls import ForcedCall
from inference.types import Call, ChatRequest, Delta, Emit, Progress, Read, Result

PARSER_FAILED = "Automatic parser generation failed: "


class LlamaCppError(InferenceError):
    """llama.cpp could not go on with this request."""

    retryable = True


@dataclass(slots=True)
class Choice:
    """One of the `n` answers so far. `forced` reads its text if that must be a tool call."""

    index: int
    top_logprobs: int
    forced: ForcedCall | None
    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None
    # Tokens it is made of, as far as they are in its deltas, and those of thoughts among them.
    tokens: int = 0
    thought: int = 0

    def take(self, said: dict[str, Any], logprobs: Any, tokens: int) -> list[Delta]:
        """The deltas of a piece of OpenAI's shape, which ends with the `tokens`th token."""
        deltas = []
        if reasoning := said.get("reasoning_content"):
            self.reasoning += reasoning
            deltas.append(Delta(reasoning, self.index, "reasoning"))
        if content := said.get("content"):
            deltas += self._content(content, logprobs)
        for piece in said.get("tool_calls") or ():
            deltas.append(self._call(piece))
        if deltas:
            # Most pieces are one token; what llama.cpp held back for a while are several.
            new, self.tokens = max(tokens - self.tokens, 0), max(tokens, self.tokens)
            first = deltas[0]
            if new != 1 or len(deltas) > 1:
                rest = [counted(delta, 0) for delta in deltas[1:]]
                deltas = [counted(first, new), *rest]
            if first.part == "reasoning":
                self.thought += new
        return deltas

    def _content(self, content: str, logprobs: Any) -> list[Delta]:
        if self.forced is not None:
            known = self.forced.call
            arguments = self.forced.feed(content)
            call = self.forced.call
            if call is None or (known is not None and not arguments):
                return []
            return [Delta(arguments, self.index, "call.0", call=call)]
        self.text += content
        if not logprobs:
            return [Delta(content, self.index)]
        told = [logprob(entry, self.top_logprobs) for entry in logprobs["content"]]
        self.logprobs += told
        return [Delta(content, self.index, logprobs=told)]

    def _call(self, piece: dict[str, Any]) -> Delta:
        number, function = piece["index"], piece.get("function", {})
        if number == len(self.calls):
            self.calls.append(Call(piece["id"], function["name"]))
            self.arguments.append("")
        arguments = function.get("arguments") or ""
        self.arguments[number] += arguments
        return Delta(arguments, self.index, f"call.{number}", call=self.calls[number])

    def finished(self) -> dict[str, Any]:
        """In the shape of `Result`."""
        choice: dict[str, Any] = {"index": self.index, "text": self.text}
        finish_reason = self.finish_reason
        if self.forced is not None and self.forced.call is not None:
            self.calls, self.arguments = [self.forced.call], [self.forced.arguments]
            finish_reason = "tool_calls" if self.forced.complete else finish_reason
        if self.reasoning:
            choice["reasoning"] = self.reasoning
        if self.calls:
            choice["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": arguments},
                }
                for call, arguments in zip(self.calls, self.arguments, strict=True)
            ]
        if self.logprobs:
            choice["logprobs"] = {"content": self.logprobs}
        return {**choice, "finish_reason": finish_reason}


def counted(delta: Delta, tokens: int) -> Delta:
    return Delta(delta.text, delta.index, delta.part, tokens, delta.call, delta.logprobs)


def logprob(entry: dict[str, Any], top: int) -> dict[str, Any]:
    """OpenAI's entry of llama.cpp's, which has a number more and perhaps more alternatives."""
    kept = {name: entry[name] for name in ("token", "logprob", "bytes")}
    others = entry.get("top_logprobs", ())[:top]
    return {**kept, "top_logprobs": [{n: other[n] for n in kept} for other in others]}


@dataclass(slots=True)
class Answer:
    """All `n` answers to one request."""

    emit: Emit
    choices: list[Choice]
    request: ChatRequest
    usages: list[dict[str, Any]] = field(default_factory=list)
    failure: BaseException | None = None
    read: bool = False

    def receive(self, chunk: str) -> bool:
        """Take one chunk; True tells llama.cpp to stop."""
        # llama.cpp would swallow an exception, so it is kept and raised again in `result`.
        try:
            self._take(json.loads(chunk))
        except BaseException as error:
            self.failure = error
        return self.failure is not None

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            raise failure(chunk["error"], self.request)
        if progress := chunk.get("prompt_progress"):
            self._reading(progress)
        produced = chunk.get("timings", {}).get("predicted_n", 0)
        for piece in chunk.get("choices", ()):
            choice = self.choices[piece["index"]]
            choice.finish_reason = piece["finish_reason"] or choice.finish_reason
            # A chat's chunks and a bare completion's.
            said = piece["delta"] if "delta" in piece else {"content": piece["text"]}
            for delta in choice.take(said, piece.get("logprobs"), produced):
                self.emit(delta)
        if chunk.get("usage"):
            self.usages.append(chunk["usage"])

    def _reading(self, progress: dict[str, int]) -> None:
        # Reading a long prompt is no part of the answer, but it can be cancelled.
        if self.read or progress["processed"] < progress["total"]:
            self.emit(Progress(0.0))
        else:
            # Once, though llama.cpp may say it of each of the n answers.
            self.read = True
            self.emit(Read(progress["total"], progress["cache"]))

    def result(self) -> Result:
        """The finished answers; raises what stopped them."""
        if self.failure is not None:
            raise self.failure
        if not self.usages or not all(choice.finish_reason for choice in self.choices):
            raise LlamaCppError("llama.cpp ended this request without finishing it.")
        return Result(
            {"choices": [choice.finished() for choice in self.choices], "usage": self._usage()}
        )

    def _usage(self) -> dict[str, Any]:
        # llama.cpp counts each of the n answers by itself; the prompt was read once for all.
        first = self.usages[0]
        prompt = first["prompt_tokens"]
        completion = sum(usage["completion_tokens"] for usage in self.usages)
        thought = sum(choice.thought for choice in self.choices)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {
                "cached_tokens": first.get("prompt_tokens_details", {}).get("cached_tokens", 0)
            },
            "completion_tokens_details": {"reasoning_tokens": thought},
        }


def failure(error: dict[str, Any], request: ChatRequest) -> InferenceError:
    """What llama.cpp reports instead of an answer."""
    if error["type"] == "exceed_context_size_error":
        return ContextLengthExceeded(
            f"The prompt has {error['n_prompt_tokens']} tokens, but the model's context is "
            f"{error['n_ctx']} tokens. Shorten the {request.asked_in}.",
            param=request.asked_in,
        )
    if error["type"] == "invalid_request_error":
        return refusal(request, error["message"])
    if "grammar" in error["message"]:
        return refusal(request, "its schema is too large.")
    return LlamaCppError(error["message"])


def refusal(request: ChatRequest, reason: str) -> InvalidRequest:
    """A request that llama.cpp does not take, naming what is most likely the cause."""
    param = request.asked_in
    if request.tools:
        param = "tools"
    elif request.response_format:
        param = "response_format"
    # What the place was where llama.cpp found it says nothing to the client.
    cause = reason.rpartition(PARSER_FAILED)[2]
    return InvalidRequest(f"The model cannot take this request: {cause}", param=param)
