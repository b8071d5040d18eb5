"""Embeddings by transformers: sentence encoders, many texts in one go.

Each text becomes the mean of its tokens' states, of length 1, as sentence-transformers has it.
A card's option `threads` is how many cores it uses at most; without it, all that the pod has.
"""

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from inference.batching import Order, Piece, Worker
from inference.catalog import Card
from inference.errors import ContextLengthExceeded, InvalidRequest, WeightsRefused
from inference.types import Device, EmbeddingRequest, Emit, Engine, Event, Progress, Result
from inference.weights import Weights

# Texts of one request in the line at once: between these the others have their turn.
ROUND = 64
# What a batch may have together; a longer one takes no less time for each token.
BATCH_TEXTS = 128
BATCH_TOKENS = 8192
# How much of a batch may be padding, as texts of all lengths come together.
PADDED = 1.5


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the encoder in the folder `model`, in float32; only safetensors, no code."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(min(device.threads, card.options.get("threads", device.threads)))
    folder = weights.path("model")
    _check_pooling(folder)
    where = "cpu" if device.kind == "cpu" else f"{device.kind}:{device.index}"
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = transformers.AutoModel.from_pretrained(
        str(folder), dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    return Encoder(card, tokenizer, model.eval().to(where))


def _check_pooling(folder: Path) -> None:
    """WeightsRefused for a model whose vectors are made in another way."""
    path = folder / "1_Pooling" / "config.json"
    if path.exists() and not json.loads(path.read_text()).get("pooling_mode_mean_tokens"):
        raise WeightsRefused(f"{path} asks for another pooling than the mean of all tokens.")


@dataclass(frozen=True, slots=True)
class Text:
    """A text in tokens, and its place in the request."""

    number: int
    tokens: list[int]


class Encoder:
    """The loaded model, which reads for all requests."""

    def __init__(self, card: Card, tokenizer: Any, model: Any) -> None:
        assert card.context is not None
        self.slots = card.slots
        self._card = card
        self._context = min(card.context, model.config.max_position_embeddings)
        self._tokenizer = tokenizer
        self._model = model
        self._dimensions: int = model.config.hidden_size
        # Whoever comes while a batch is read is in the next one: no need to wait for company.
        self._worker = Worker(
            self._read, most=BATCH_TEXTS, capacity=BATCH_TOKENS, making="Reading", linger_s=0.0
        )

    def generate(self, request: EmbeddingRequest, emit: Emit) -> Result:
        """The vector of each input; emits Progress.

        Raises ContextLengthExceeded for an input that is too long, InvalidRequest for other
        `dimensions` than the model's, and whatever `emit` raises.
        """
        self._check_dimensions(request.dimensions)
        texts = self._tokens(request.inputs)
        # Of equal length together, so that little is padded.
        texts.sort(key=lambda text: len(text.tokens))
        vectors: dict[int, str] = {}
        for start in range(0, len(texts), ROUND):
            part = texts[start : start + ROUND]
            order = Order(_of_whole(emit, start, len(part), len(texts)))
            order.pieces = [Piece(order, None, len(text.tokens), text.tokens) for text in part]
            for text, vector in zip(part, self._worker.do(order), strict=True):
                vectors[text.number] = vector
        tokens = sum(len(text.tokens) for text in texts)
        return Result(
            {
                "embeddings": [vectors[number] for number in range(len(texts))],
                "dimensions": self._dimensions,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def close(self) -> None:
        """Stop reading and free the model's memory."""
        self._worker.close()
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _check_dimensions(self, dimensions: int | None) -> None:
        # Cutting a vector off keeps its meaning only where a model was trained for that.
        if dimensions not in (None, self._dimensions):
            raise InvalidRequest(
                f"{self._card.id} has vectors of {self._dimensions} dimensions, and no others. "
                "Leave 'dimensions' out.",
                param="dimensions",
            )

    def _tokens(self, inputs: list[str]) -> list[Text]:
        encoded = self._tokenizer(inputs, truncation=False, padding=False)["input_ids"]
        for number, tokens in enumerate(encoded):
            if len(tokens) > self._context:
                name = "input" if len(inputs) == 1 else f"input[{number}]"
                raise ContextLengthExceeded(
                    f"'{name}' has {len(tokens)} tokens, and {self._card.id} reads at most "
                    f"{self._context}. Shorten it, or split it.",
                    param="input",
                )
        return [Text(number, tokens) for number, tokens in enumerate(encoded)]

    def _read(self, batch: list[Piece]) -> list[str]:
        """The vectors of the pieces, in base64."""
        vectors: dict[int, str] = {}
        for numbers in _alike([len(piece.subject) for piece in batch]):
            for number, vector in zip(
                numbers, self._vectors([batch[n].subject for n in numbers]), strict=True
            ):
                vectors[number] = base64.b64encode(vector.astype("<f4").tobytes()).decode()
        return [vectors[number] for number in range(len(batch))]

    def _vectors(self, texts: list[list[int]]) -> Any:
        """An array of float32, a row of length 1 for each text."""
        longest = max(map(len, texts))
        tokens = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros_like(tokens)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = text
            mask[row, : len(text)] = 1
        with torch.inference_mode():
            device = self._model.device
            attended = torch.from_numpy(mask).to(device)
            states = self._model(
                input_ids=torch.from_numpy(tokens).to(device), attention_mask=attended
            ).last_hidden_state
            weight = attended.unsqueeze(-1).to(states.dtype)
            means = (states * weight).sum(1) / weight.sum(1)
            return torch.nn.functional.normalize(means, dim=1).cpu().numpy()


def _alike(lengths: list[int]) -> Iterator[list[int]]:
    """The places of texts that are read in one go, as little of it would be padding."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    group: list[int] = []
    tokens = 0
    for number in order:
        padded = lengths[number] * (len(group) + 1)
        if group and padded > PADDED * (tokens + lengths[number]):
            yield group
            group, tokens = [], 0
        group.append(number)
        tokens += lengths[number]
    if group:
        yield group


def _of_whole(emit: Emit, done: int, part: int, total: int) -> Emit:
    """`emit`, for the work on `part` of `total` texts after the first `done`."""

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            event = Progress((done + math.floor(event.fraction * part)) / total)
        emit(event)

    return tell
