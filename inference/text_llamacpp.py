"""Text by llama.cpp, in this process, with continuous batching (xllamacpp's Server)."""

import json
import secrets
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

from inference.catalog import Card
from inference.errors import InferenceError, InvalidRequest
from inference.text import forced_calls, held
from inference.text.bias import bias_of
from inference.text.conversation import default_of, messages_of
from inference.text.forced_calls import ForcedCall
from inference.text.llamacpp_answer import Answer, Choice, refusal
from inference.types import ChatRequest, Device, Emit, Engine, Result
from inference.weights import Weights

# A prompt is read in pieces of this many tokens; between two of them a cancel is noticed.
PROMPT_PIECE = 512
CACHE_TYPES = {"f16": 1, "q8_0": 8}
FLASH_ATTENTION = 1
ERRORS_ONLY = 1
ANSWER_S = 30.0
TEMPLATES = Path(__file__).parent / "text" / "templates"
# Efforts at which a model that can think does not.
THOUGHTLESS = ("none", "minimal")


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the GGUF file `model`.

    `options`: `system` (a default system message), `cache` (of what type), `chat_template` (one
    of ours, by name, instead of the file's), `tools` (false: the template knows none).
    """
    path = str(weights.path("model"))
    parameters = _parameters(card, path, device)
    server = xllamacpp.Server(parameters)
    return LlamaCpp(card, server, _tokens(server, parameters.api_keys[0]))


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
    if "chat_template" in card.options:
        template = TEMPLATES / f"{card.options['chat_template']}.jinja"
        parameters.chat_template = template.read_text(encoding="utf-8")
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = device.threads
        # Threads that spin while they wait take the cores from everyone else.
        threads.poll = 0
    # An answer that the client has begun is not gone on with, but followed by another, as OpenAI
    # does.
    parameters.prefill_assistant = False
    # The Server also listens on a loopback port, which we use once: nobody else knows its key.
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.n_threads_http = 1
    parameters.ui = parameters.endpoint_slots = False
    parameters.verbosity = ERRORS_ONLY
    return parameters


def _tokens(server: xllamacpp.Server, key: str) -> int:
    """How many tokens the model has: what it ignores without a word must be refused."""
    address = urlsplit(server.listening_address)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
        [model] = json.loads(connection.getresponse().read())["data"]
    finally:
        connection.close()
    return int(model["meta"]["n_vocab"])


class LlamaCpp:
    """One loaded GGUF model that answers `slots` requests at once."""

    def __init__(self, card: Card, server: xllamacpp.Server, tokens: int) -> None:
        self.slots = card.slots
        self._card = card
        self._tokens = tokens
        self._server: xllamacpp.Server | None = server

    def generate(self, request: ChatRequest, emit: Emit) -> Result:
        """Answer `request`, emitting a Delta for each token or so.

        Raises InvalidRequest or ContextLengthExceeded for a request that cannot
        be answered, and whatever `emit` raises, after the slot was freed.
        """
        if self._server is None:
            raise InferenceError(f"{self._card.id} is closed.")
        bias_of(request, self._tokens)
        body = _body(self._card, request)
        forced = forced_calls.wanted(request)
        choices = [
            Choice(index, request.top_logprobs, ForcedCall() if forced else None)
            for index in range(request.n)
        ]
        answer = Answer(emit, choices, request)
        handle = (
            self._server.handle_chat_completions
            if request.prompt is None
            else self._server.handle_completions
        )
        try:
            handle(json.dumps(body), answer.receive)
        except (ValueError, RuntimeError) as error:
            raise refusal(request, str(error)) from error
        return answer.result()

    def close(self) -> None:
        """Free the model's memory; its running requests end first."""
        self._server = None


def _body(card: Card, request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "messages": _messages(card, request) if request.prompt is None else None,
        "prompt": request.prompt,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
        # Each piece says how many tokens there are by then.
        "timings_per_token": True,
        "n": request.n,
        "temperature": default_of(card, "temperature", request.temperature),
        "top_p": default_of(card, "top_p", request.top_p),
        # An empty stop string would end every answer before it begins.
        "stop": [text for text in request.stop if text],
        "max_tokens": request.max_tokens,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        # llama.cpp takes 32 bits, and all of them set mean a random seed.
        "seed": None if request.seed is None else request.seed % 0xFFFFFFFF,
        "logit_bias": request.logit_bias or None,
        "response_format": request.response_format,
        **_tools(card, request),
        **_logprobs(request),
        **_thinking(request),
    }
    _check_schema(body["response_format"], request)
    return {name: value for name, value in body.items() if value is not None}


def _messages(card: Card, request: ChatRequest) -> list[dict[str, Any]]:
    """With calls whose arguments are JSON, as llama.cpp takes no others: what a model once wrote
    wrong, or was cut off, goes as a text of that."""
    return [
        {**message, "tool_calls": [_readable(call) for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in messages_of(card, request.messages)
    ]


def _readable(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        json.loads(function["arguments"])
    except ValueError:
        wrong = json.dumps(function["arguments"]) if function["arguments"].strip() else "{}"
        return {**call, "function": {**function, "arguments": wrong}}
    return call


def _tools(card: Card, request: ChatRequest) -> dict[str, Any]:
    """The fields about tools; InvalidRequest for what can't be had at once."""
    if not request.tools:
        return {}
    if not card.options.get("tools", True):
        raise InvalidRequest(f"{card.name} knows no tools. Leave them out.", param="tools")
    if request.logprobs:
        raise InvalidRequest(
            "The model tells no logprobs beside tools. Leave one of them out.", param="logprobs"
        )
    for tool in request.tools:
        function = tool["function"]
        found = held.hangs(function.get("parameters"))
        if found is None and function.get("strict"):
            found = held.unheld(function.get("parameters"))
        if found is not None:
            raise InvalidRequest(
                f"The parameters of '{function['name']}' can't be held to: {found}. Change that"
                f"{' or leave out strict' if function.get('strict') else ''}.",
                param="tools",
            )
    functions = forced_calls.wanted(request)
    if functions:
        # The template tells of the tools; that one of them is called is the schema's affair.
        schema = {"name": "call", "schema": forced_calls.schema(functions)}
        answer = {"type": "json_schema", "json_schema": schema}
        return {"tools": request.tools, "response_format": answer}
    if request.response_format and request.response_format["type"] != "text":
        raise InvalidRequest(
            "The model can't choose between a tool and an answer in a response_format. Leave one "
            "of them out, or say with tool_choice which it shall be.",
            param="response_format",
        )
    return {"tools": request.tools, "parallel_tool_calls": request.parallel_tool_calls}


def _check_schema(response_format: dict[str, Any] | None, request: ChatRequest) -> None:
    """InvalidRequest for a schema of the client's that the answer might not keep to."""
    if response_format is not request.response_format or response_format is None:
        return
    schema = response_format.get("json_schema", {}).get("schema", {})
    found = held.hangs(schema) or held.unheld(schema)
    if found is not None:
        raise InvalidRequest(
            f"The model's answers can't be held to this schema: {found}. Change or leave out that.",
            param="response_format",
        )


def _logprobs(request: ChatRequest) -> dict[str, Any]:
    if not request.logprobs:
        return {}
    # With none wanted it would tell nothing at all.
    top = max(1, request.top_logprobs)
    return (
        {"logprobs": top} if request.prompt is not None else {"logprobs": True, "top_logprobs": top}
    )


def _thinking(request: ChatRequest) -> dict[str, Any]:
    """For templates that know of it; others are not disturbed."""
    effort = request.reasoning_effort
    if effort is None:
        return {}
    options = {"enable_thinking": effort not in THOUGHTLESS, "reasoning_effort": effort}
    return {"chat_template_kwargs": options}
