"""Sentences become vectors, whose angles say what is alike."""

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from inference import weights
from inference.catalog import Catalog
from inference.errors import Cancelled, ContextLengthExceeded, InvalidRequest
from inference.types import EmbeddingRequest, Engine, Event, Progress
from tests.inference.conftest import Loader

PAIRS = (
    ("A man is eating food.", "Somebody has a meal."),
    ("The bank raised its interest rates.", "Borrowing money became more expensive."),
    ("How do I reset my password?", "I forgot my login and can't get into my account."),
    ("It is raining cats and dogs.", "The weather is very wet today."),
)


@pytest.fixture(scope="module")
def minilm(cards: Catalog, start: Loader) -> Engine:
    return start(cards.cards["all-minilm-l6-v2"])


def silent(event: Event) -> None:
    pass


def vectors(engine: Engine, *texts: str) -> Any:
    """A row for each text."""
    result = engine.generate(EmbeddingRequest(list(texts)), silent)
    assert result.data["dimensions"] == 384
    rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in result.data["embeddings"]]
    return np.stack(rows)


def test_what_means_the_same_is_nearer_than_what_does_not(minilm: Engine) -> None:
    rows = vectors(minilm, *(text for pair in PAIRS for text in pair))
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    likeness = rows @ rows.T
    for number in range(0, len(rows), 2):
        others = np.delete(likeness[number], [number, number + 1])
        assert likeness[number, number + 1] > others.max() + 0.1


def test_they_are_what_plain_transformers_computes(minilm: Engine, cards: Catalog) -> None:
    from pathlib import Path

    import torch
    import transformers

    folder = str(weights.find(cards.cards["all-minilm-l6-v2"], Path(), Path()).path("model"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    for text in (PAIRS[0][0], "Grüße aus Köln: 北京, naïve café №5 \U0001f98a"):
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = states.mean(0) / states.mean(0).norm()
        assert np.abs(vectors(minilm, text)[0] - expected.numpy()).max() < 1e-5


def test_in_a_batch_they_are_the_same_as_alone(minilm: Engine) -> None:
    texts = [" ".join(["fox"] * count) for count in (1, 200, 3, 17, 2, 90)]
    texts += [text for pair in PAIRS for text in pair]
    together = vectors(minilm, *texts)
    with ThreadPoolExecutor(16) as pool:
        alone = list(pool.map(lambda text: vectors(minilm, text)[0], texts))
    assert np.abs(together - np.stack(alone)).max() < 1e-5


def test_more_than_one_round_keeps_its_order(minilm: Engine) -> None:
    texts = [f"Number {number}" * (number % 3 + 1) for number in range(150)]
    progress: list[float] = []

    def listen(event: Event) -> None:
        assert isinstance(event, Progress)
        progress.append(event.fraction)

    result = minilm.generate(EmbeddingRequest(texts), listen)
    rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in result.data["embeddings"]]
    for number in (0, 1, 77, 149):
        assert np.abs(rows[number] - vectors(minilm, texts[number])[0]).max() < 1e-5
    assert progress == sorted(progress)
    assert progress[-1] > 0.5


def test_tokens_are_counted(minilm: Engine) -> None:
    usage = minilm.generate(EmbeddingRequest(["Hello.", "Hello there."]), silent).data["usage"]
    # Each text has its beginning and its end as two more.
    assert usage == {"prompt_tokens": 4 + 5, "total_tokens": 4 + 5}


def test_what_is_too_long_is_refused_and_not_cut_off(minilm: Engine) -> None:
    longest = " ".join(["fox"] * 254)
    vectors(minilm, longest)
    for texts, name in ([longest + " fox"], "'input'"), (["a", longest + " fox"], "'input[1]'"):
        with pytest.raises(ContextLengthExceeded, match=r"257 tokens.* 256") as refused:
            minilm.generate(EmbeddingRequest(texts), silent)
        assert refused.value.param == "input"
        assert name in refused.value.message


def test_a_vector_is_not_cut_off_either(minilm: Engine) -> None:
    minilm.generate(EmbeddingRequest(["a"], dimensions=384), silent)
    with pytest.raises(InvalidRequest, match="384 dimensions") as refused:
        minilm.generate(EmbeddingRequest(["a"], dimensions=256), silent)
    assert refused.value.param == "dimensions"


def test_a_cancelled_request_stops_between_rounds(minilm: Engine) -> None:
    heard = 0

    def cancel(event: Event) -> None:
        nonlocal heard
        heard += 1
        if heard == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        minilm.generate(EmbeddingRequest(["fox"] * 200), cancel)
