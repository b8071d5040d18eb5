"""Text by llama.cpp, in this process, with continuous batching (xllamacpp's Server)."""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import xllamacpp

from inference.catalog import Card
from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest
from inference.types import ChatRequest, Delta, Device, Emit, Engine, Progress, Read, Result
from inference.weights import Weights

# A prompt is read in pieces of this many tokens; between two of them a cancel is noticed.
PROMPT_PIECE = 512
CACHE_TYPES = {"f16": 1, "q8_0": 8}
FLASH_ATTENTION = 1
ERRORS_ONLY = 1


class LlamaCppError(InferenceError):
    """llama.cpp could not go on with this request."""

    retryable = True


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the GGUF file `model`; `options`: `system` (a default system message), `cache`."""
    path = str(weights.path("model"))
    return LlamaCpp(card, xllamacpp.Server(_parameters(card, path, device)))


def _parameters(card: Card, path: str, device: Device) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_parallel = card.slots
    # Every slot owns its part of the cache. In one shared cache (kv_unified) that runs full,
    # llama.cpp fails all running requests at once, and it was also slower.
    parameters.n_ctx = card.slots * (card.context or 0)
    parameters.n_batch = PROMPT_PIECE
    # Half the memory of f16 at the same speed; quantized values need flash attention.
    cache = CACHE_TYPES[card.options.get("cache", "q8_0")]
    parameters.cache_type_k = parameters.cache_type_v = cache
    parameters.flash_attn_type = FLASH_ATTENTION
    parameters.cache_ram_mib = 0
    parameters.n_gpu_layers = -1 if device.kind == "cuda" else 0
    parameters.reasoning_format = 0
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = device.threads
        # Threads that spin while they wait take the cores from everyone else.
        threads.poll = 0
    # The Server also listens on a loopback port, which we never use: nobody knows its key.
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.n_threads_http = 1
    parameters.ui = parameters.endpoint_slots = False
    parameters.verbosity = ERRORS_ONLY
    return parameters


class LlamaCpp:
    """One loaded GGUF model that answers `slots` requests at once."""

    def __init__(self, card: Card, server: xllamacpp.Server) -> None:
        self.slots = card.slots
        self._card = card
        self._server: xllamacpp.Server | None = server

    def generate(self, request: ChatRequest, emit: Emit) -> Result:
        """Answer `request`, emitting a Delta for each token or so.

        Raises InvalidRequest or ContextLengthExceeded for a request that cannot
        be answered, and whatever `emit` raises, after the slot was freed.
        """
        if self._server is None:
            raise InferenceError(f"{self._card.id} is closed.")
        empty = {"text": "", "finish_reason": None}
        choices = [{"index": index, **empty} for index in range(request.n)]
        answer = Answer(emit, choices, request.asked_in)
        handle = (
            self._server.handle_chat_completions
            if request.prompt is None
            else self._server.handle_completions
        )
        try:
            handle(json.dumps(_body(self._card, request)), answer.receive)
        except (ValueError, RuntimeError) as error:
            raise _refusal(request, str(error)) from error
        return answer.result()

    def close(self) -> None:
        """Free the model's memory; its running requests end first."""
        self._server = None


@dataclass(slots=True)
class Answer:
    """What llama.cpp has said to one request so far: `choices` are its `n` answers."""

    emit: Emit
    choices: list[dict[str, Any]]
    asked_in: str
    usages: list[dict[str, Any]] = field(default_factory=list)
    failure: BaseException | None = None

    def receive(self, chunk: str) -> bool:
        """Take one chunk (an OpenAI chunk as JSON); True tells llama.cpp to stop."""
        # llama.cpp would swallow an exception, so it is kept and raised again in `result`.
        try:
            self._take(json.loads(chunk))
        except BaseException as error:
            self.failure = error
        return self.failure is not None

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            raise _failure(chunk["error"], self.asked_in)
        if "prompt_progress" in chunk:
            # Reading a long prompt is no part of the answer, but it can be cancelled.
            read = chunk["prompt_progress"]
            over = read["processed"] == read["total"]
            self.emit(Read(read["total"], read["cache"]) if over else Progress(0.0))
        for piece in chunk.get("choices", ()):
            self._take_piece(piece)
        if chunk.get("usage"):
            self.usages.append(chunk["usage"])

    def _take_piece(self, piece: dict[str, Any]) -> None:
        choice = self.choices[piece["index"]]
        choice["finish_reason"] = piece["finish_reason"] or choice["finish_reason"]
        # A chat's chunks and a bare completion's.
        if text := piece["delta"].get("content") if "delta" in piece else piece["text"]:
            choice["text"] += text
            self.emit(Delta(text, piece["index"]))

    def result(self) -> Result:
        """The finished answers; raises what stopped them."""
        if self.failure is not None:
            raise self.failure
        if not self.usages or not all(choice["finish_reason"] for choice in self.choices):
            raise LlamaCppError("llama.cpp ended this request without finishing it.")
        return Result({"choices": self.choices, "usage": _usage(self.usages)})


def _usage(usages: list[dict[str, Any]]) -> dict[str, Any]:
    # llama.cpp counts each of the n answers by itself; the prompt was read once for all.
    prompt = usages[0]["prompt_tokens"]
    completion = sum(usage["completion_tokens"] for usage in usages)
    cached = usages[0].get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _body(card: Card, request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messages": _messages(card, request.messages) if request.prompt is None else None,
        "prompt": request.prompt,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "n": request.n,
        "temperature": _asked(card, "temperature", request.temperature),
        "top_p": _asked(card, "top_p", request.top_p),
        # An empty stop string would end every answer before it begins.
        "stop": [text for text in request.stop if text],
        "max_tokens": request.max_tokens,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        # llama.cpp takes 32 bits, and all of them set mean a random seed.
        "seed": None if request.seed is None else request.seed % 0xFFFFFFFF,
        "response_format": request.response_format,
    }
    return {name: value for name, value in body.items() if value is not None}


def _asked(card: Card, name: str, value: float | None) -> float | None:
    default = card.parameters.get(name)
    return default.default if value is None and default else value


def _messages(card: Card, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Newer clients say "developer"; chat templates know only "system".
    messages = [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]
    system = card.options.get("system")
    if system and messages and messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    return messages


def _failure(error: dict[str, Any], asked_in: str) -> InferenceError:
    if error["type"] == "exceed_context_size_error":
        return ContextLengthExceeded(
            f"The prompt has {error['n_prompt_tokens']} tokens, but the model's context is "
            f"{error['n_ctx']} tokens. Shorten the {asked_in}.",
            param=asked_in,
        )
    if error["type"] == "invalid_request_error":
        return InvalidRequest(error["message"])
    return LlamaCppError(error["message"])


def _refusal(request: ChatRequest, reason: str) -> InvalidRequest:
    param = "response_format" if request.response_format else request.asked_in
    return InvalidRequest(f"The model cannot take this request: {reason}", param=param)
