"""Tokens of a batch, each row by its own wishes, against the same said plainly for one row."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.decoding.sampling import Chosen, Sampling, choose

VOCABULARY = 300


class Only:
    """Lets only some tokens come."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens, self.heard = tokens, [0][:0]

    def allowed(self) -> torch.Tensor:
        words = [0] * -(-VOCABULARY // 32)
        for token in self.tokens:
            words[token // 32] |= 1 << token % 32
        signed = [word - (1 << 32) if word >= 1 << 31 else word for word in words]
        return torch.tensor(signed, dtype=torch.int32)

    def accept(self, token: int) -> None:
        self.heard.append(token)


def plainly(logits: list[float], row: Sampling) -> int:
    """What `choose` promises for one row, word by word."""
    if row.temperature == 0:
        return max(range(VOCABULARY), key=lambda token: logits[token])
    weights = [math.exp(logit / row.temperature) for logit in logits]
    draw = random.Random(row.seed).random()
    order = list(range(VOCABULARY))
    if row.top_p < 1:
        order.sort(key=lambda token: -weights[token])
        whole, behind, kept = sum(weights), 0.0, 0
        while kept < VOCABULARY and behind < row.top_p * whole:
            behind += weights[order[kept]]
            kept += 1
        order = order[:kept]
    wanted, behind = draw * sum(weights[token] for token in order), 0.0
    for token in order:
        behind += weights[token]
        if behind > wanted:
            return token
    return order[-1]


rows = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0]),
    seed=st.integers(0, 1000),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=6), st.integers(0, 2**32), st.sampled_from([0.1, 3.0]))
def test_each_row_has_its_own_wishes(many: list[Sampling], seed: int, spread: float) -> None:
    """Flat rows need more tokens than are looked at first; steep ones don't."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(many), VOCABULARY, generator=generator) * spread
    expected = [plainly(line, row) for line, row in zip(logits.tolist(), many, strict=True)]
    found = [chosen.token for chosen in choose(logits, many)]
    # A draw that falls on the edge between two tokens may go either way in float32.
    assert sum(a != b for a, b in zip(found, expected, strict=True)) <= 1


def test_who_else_is_there_changes_nothing() -> None:
    logits = torch.randn(8, VOCABULARY, generator=torch.Generator().manual_seed(1))

    def wishes(number: int) -> Sampling:
        return Sampling(temperature=number % 3, top_p=(0.8, 1.0)[number % 2], seed=number)

    together = choose(logits.clone(), [wishes(number) for number in range(8)])
    alone = [choose(logits[n : n + 1].clone(), [wishes(n)])[0] for n in range(8)]
    assert together == alone


def test_what_may_not_come_does_not_come() -> None:
    logits = torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(2))
    constraints = [Only([5, 31, 32, 299]), None, Only([63]), Only([31])]
    many = [Sampling(temperature=1.0, seed=n, constraint=c) for n, c in enumerate(constraints)]
    free = choose(logits[1:2].clone(), [Sampling(temperature=1.0, seed=1)])
    found = choose(logits, many)
    assert found[0].token in (5, 31, 32, 299)
    assert [found[1], found[2].token, found[3].token] == [*free, 63, 31]
    assert [one.heard for one in constraints if one] == [[found[0].token], [63], [31]]


def test_log_probabilities_are_of_the_rows_that_asked() -> None:
    logits = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(3))
    expected = logits.log_softmax(-1)
    greedy = [Sampling(0.0, logprobs=2), Sampling(0.0), Sampling(0.0, logprobs=0, bias={9: -100.0})]
    first, second, third = choose(logits.clone(), greedy)
    best = expected[0].topk(2)
    assert [token for token, _ in first.likeliest] == best.indices.tolist()
    assert [logprob for _, logprob in first.likeliest] == pytest.approx(best.values.tolist())
    assert (first.token, first.logprob) == first.likeliest[0]
    assert second == Chosen(int(expected[1].argmax()))
    assert third.likeliest == []
    assert third.logprob == pytest.approx(float(expected[2].max()), abs=0.05)
