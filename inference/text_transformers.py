"""Text by transformers' models: many answers at once, over a paged cache of our own.

transformers' own continuous batching has no seeds, penalties, biases, grammars or log
probabilities for single requests, and sends no event on a cancel; docs/text.md says more.
"""

import gc
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

from inference import converted
from inference.catalog import Card
from inference.decoding import attention, memory
from inference.decoding.grammar import Grammar, Grammars
from inference.decoding.loop import Answer, Loop, Outbox
from inference.decoding.packing import pack
from inference.decoding.runner import Runner
from inference.decoding.sampling import Sampling
from inference.errors import ContextLengthExceeded, InferenceError, InvalidRequest
from inference.text.answer_form import form_of
from inference.text.bias import bias_of
from inference.text.conversation import default_of, messages_of
from inference.text.dialect import Splitter
from inference.text.vocabulary import Vocabulary
from inference.text.writer import Writer
from inference.types import ChatRequest, Device, Emit, Engine, Progress, Read, Result
from inference.weights import Weights

# Tokens of prompts that are read in one step, beside the answers that are being written.
BUDGET = {"cpu": 256, "cuda": 2048}
# How often a request that hears nothing looks whether it was cancelled, in seconds.
LOOK_S = 0.2


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load `model`: a folder of safetensors, or a GGUF file, which is converted once.

    `options`: `system` (a default system message), `dtype` ("bfloat16" or "float32"), `graphs`
    (false: no CUDA graphs).
    """
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(device.threads)
    dtype = _dtype(card, device)
    path = weights.path("model")
    if path.suffix == ".gguf":
        assert weights.cache is not None
        path = converted.folder(path, weights.cache, dtype, card.files["model"].sha256)
    vocabulary = Vocabulary(path)
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation=attention.NAME,
        local_files_only=True,
        use_safetensors=True,
        **_placement(device),
    ).eval()
    if device.kind == "cpu":
        pack(model)
        gc.collect()
    return TextTransformers(card, model, vocabulary, _ends(model, vocabulary, path), device)


def _dtype(card: Card, device: Device) -> torch.dtype:
    """bfloat16, except on CPUs that would only imitate it."""
    if name := card.options.get("dtype"):
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]
    if device.kind == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


def _placement(device: Device) -> dict[str, Any]:
    if device.kind == "cpu":
        return {}
    if device.count == 1:
        return {"device_map": {"": f"cuda:{device.index}"}}
    # Layers in turn: the first GPU has the first ones. The cache lies beside its layer.
    numbers = range(device.index, device.index + device.count)
    most = device.memory_mb
    return {
        "device_map": "balanced",
        "max_memory": dict.fromkeys(numbers, f"{most}MB") if most else None,
    }


def _ends(model: Any, vocabulary: Vocabulary, path: Path) -> list[int]:
    """The tokens that end an answer."""
    config = model.generation_config
    if (path / "generation_config.json").exists():
        config = GenerationConfig.from_pretrained(path, local_files_only=True)
    ends = config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return sorted({end for end in [*ends, vocabulary.tokenizer.eos_token_id] if end is not None})


class TextTransformers:
    """One loaded model that answers `slots` requests at once."""

    def __init__(
        self, card: Card, model: Any, vocabulary: Vocabulary, ends: list[int], device: Device
    ) -> None:
        self.slots = card.slots
        self._card, self._vocabulary, self._ends = card, vocabulary, ends
        config = model.config.get_text_config()
        self._width: int = config.vocab_size
        self._context = min(card.context or 0, config.max_position_embeddings)
        runner, budget = Runner(model), BUDGET[device.kind]
        pages = memory.allocate(runner, card, device, self._context, budget)
        self._loop = Loop(runner, pages, budget=budget, rows=card.slots, threads=device.threads)
        self._grammars = Grammars(vocabulary.tokenizer, self._width, ends, device.threads)

    @property
    def loop(self) -> Loop:
        """What writes the answers, for whoever wants to look at its pages."""
        return self._loop

    def generate(self, request: ChatRequest, emit: Emit) -> Result:
        """Answer `request`, emitting Read, then a Delta for each token or so.

        Raises InvalidRequest or ContextLengthExceeded for a request that cannot
        be answered, and whatever `emit` raises, after its pages were freed.
        """
        text = self._text(request)
        prompt = self._vocabulary.encode(text, bare=request.prompt is not None)
        if len(prompt) >= self._context:
            raise ContextLengthExceeded(
                f"The prompt has {len(prompt)} tokens, but the model's context is "
                f"{self._context} tokens. Shorten the {request.asked_in}.",
                param=request.asked_in,
            )
        outbox: Outbox = SimpleQueue()
        answers = self._answers(request, prompt, text, outbox)
        writers = [self._writer(request, text, answer.index) for answer in answers]
        self._loop.submit(answers)
        try:
            cached = self._follow(answers, writers, outbox, emit)
        finally:
            # Whatever ended it: what still runs is dropped, and its pages are free.
            self._loop.drop([answer for answer in answers if not answer.over])
        return Result(
            {
                "choices": [writer.choice() for writer in writers],
                "usage": _usage(len(prompt), cached, writers),
            }
        )

    def close(self) -> None:
        """Free the model's memory; its running requests fail first."""
        self._loop.close()
        self._loop.runner.close()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _follow(
        self, answers: list[Answer], writers: list[Writer], outbox: Outbox, emit: Emit
    ) -> int:
        """Tell `emit` what the loop tells, to the end; returns how much of the prompt was known."""
        cached = 0
        open_ones = len(writers)
        while open_ones:
            try:
                told = outbox.get(timeout=LOOK_S)
            except Empty:
                emit(Progress(0.0))
                continue
            if isinstance(told, InferenceError):
                raise told
            writer = writers[told.index]
            if told.chosen is None:
                if told.index == 0:
                    cached = told.cached
                    emit(Read(answers[0].prompt, cached))
                continue
            if writer.is_over():
                continue  # a stop string had come while the loop wrote on
            for delta in writer.take(told.chosen, told.last):
                emit(delta)
            if writer.is_over():
                open_ones -= 1
                if told.last is None:
                    self._loop.drop([answers[told.index]])
        return cached

    def _text(self, request: ChatRequest) -> str:
        if request.prompt is not None:
            return request.prompt
        return self._vocabulary.render(request, messages_of(self._card, request.messages))

    def _answers(
        self, request: ChatRequest, prompt: list[int], text: str, outbox: Outbox
    ) -> list[Answer]:
        most = self._context - len(prompt)
        if request.max_tokens is not None:
            most = min(most, request.max_tokens)
        compiled = self._compiled(request)
        answers: list[Answer] = []
        for index in range(request.n):
            answers.append(
                Answer(
                    index=index,
                    tokens=list(prompt),
                    prompt=len(prompt),
                    most=most,
                    ends=frozenset(self._ends),
                    sampling=self._sampling(request, index, compiled, text),
                    outbox=outbox,
                    leader=answers[0] if answers else None,
                )
            )
        return answers

    def _sampling(self, request: ChatRequest, index: int, compiled: Any, text: str) -> Sampling:
        temperature = default_of(self._card, "temperature", request.temperature)
        top_p = default_of(self._card, "top_p", request.top_p)
        constraint = None
        if compiled is not None:
            opened = self._opened(text)
            thoughts = self._vocabulary.thoughts if self._thinks(request, text) else None
            constraint = Grammar(self._grammars, compiled, thoughts, opened)
        return Sampling(
            temperature=1.0 if temperature is None else temperature,
            top_p=1.0 if top_p is None else top_p,
            seed=None if request.seed is None else request.seed + index,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            bias=bias_of(request, self._width),
            logprobs=request.top_logprobs if request.logprobs else None,
            constraint=constraint,
        )

    # Thoughts, tools and grammars

    def _thinks(self, request: ChatRequest, text: str) -> bool:
        """Whether an answer begins with thoughts: the template can say that there are none."""
        no_thoughts = text.rstrip().endswith("</think>")
        return request.prompt is None and self._vocabulary.thoughts is not None and not no_thoughts

    def _opened(self, text: str) -> bool:
        return text.rstrip().endswith("<think>")

    def _writer(self, request: ChatRequest, text: str, index: int) -> Writer:
        thinks = self._thinks(request, text)
        tools = bool(request.tools) and request.tool_choice != "none"
        splitter = Splitter(
            thinks=thinks,
            opened=thinks and self._opened(text),
            syntax=self._vocabulary.syntax if tools else None,
        )
        return Writer(index, self._vocabulary, splitter, request)

    def _compiled(self, request: ChatRequest) -> Any:
        """The grammar that the answer keeps to, or None."""
        form, param = form_of(request, self._vocabulary.syntax)
        if form is None:
            return None
        try:
            return self._grammars.compile(form)
        except ValueError as error:
            raise InvalidRequest(
                f"The model cannot keep to this {param}: {error}", param=param
            ) from error


def _usage(prompt: int, cached: int, writers: list[Writer]) -> dict[str, Any]:
    completion = sum(writer.tokens for writer in writers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {
            "reasoning_tokens": sum(writer.reasoning_tokens for writer in writers)
        },
    }
