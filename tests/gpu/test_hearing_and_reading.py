"""Embeddings and transcriptions on a GPU."""

import base64
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from inference.catalog import Catalog
from inference.sound import audio, recordings
from inference.types import Delta, EmbeddingRequest, Event, TranscriptionRequest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fox", "jumps", "over", "dog"]
TEXTS = ["the fox", "the fox jumps over the dog", "dog"] * 50


def silent(event: Event) -> None:
    pass


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    BertTokenizer(vocab={word: n for n, word in enumerate(WORDS)}).save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    return tmp_path


def test_embeddings_are_those_of_the_cpu(
    cards: Catalog, encoder: Path, load: Callable[..., Any], on_gpu: bool
) -> None:
    engine = load(cards.cards["all-minilm-l6-v2"], encoder)
    result = engine.generate(EmbeddingRequest(TEXTS), silent)
    rows = np.stack(
        [np.frombuffer(base64.b64decode(row), "<f4") for row in result.data["embeddings"]]
    )
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    plain = BertModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    tokenizer = BertTokenizer.from_pretrained(encoder)
    with torch.inference_mode():
        for text, row in zip(TEXTS[:3], rows, strict=False):
            states = plain(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            expected = torch.nn.functional.normalize(states.mean(0), dim=0)
            assert np.allclose(expected.numpy(), row, atol=1e-3)
    if on_gpu:
        assert next(engine._model.parameters()).is_cuda


def test_whisper_hears_on_a_gpu(
    cards: Catalog, tiny: Callable[[str, str], Path], load: Callable[..., Any], on_gpu: bool
) -> None:
    card = cards.cards["whisper-large-v3-turbo"].model_copy(update={"max_seconds": 100})
    engine = load(card, tiny("whisper", "tiny"))
    times = np.arange(40 * recordings.RATE) / recordings.RATE
    tone = (8000 * np.sin(2 * math.pi * 440 * times)).astype(np.int16).tobytes()
    heard: list[Event] = []
    request = TranscriptionRequest(audio.encode(tone, recordings.RATE, "wav"))
    result = engine.generate(request, heard.append)
    assert result.data["duration_s"] == pytest.approx(40, abs=0.1)
    assert result.data["text"] == "".join(e.text for e in heard if isinstance(e, Delta))
    if on_gpu:
        assert next(engine._model.parameters()).dtype == torch.float16
        assert next(engine._model.parameters()).is_cuda
