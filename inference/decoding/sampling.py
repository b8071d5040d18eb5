"""From logits to tokens: each row by its own request's wishes, and whoever else is in the batch."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

# Nearly always enough tokens to hold `top_p` of the probability; else all are sorted.
LIKELIEST = 128
LEAST = 1e-9
# What OpenAI says of a token that can't come.
IMPOSSIBLE = -9999.0


class Constraint(Protocol):
    """What of the vocabulary may come next."""

    def restrict(self, logits: torch.Tensor) -> None:
        """Set what may not come to minus infinity, in a row of logits."""

    def accept(self, token: int) -> None:
        """Hear which token came."""


@dataclass(slots=True)
class Sampling:
    """How one answer's tokens are chosen, and what that needs to know of those before.

    `temperature` 0 takes the likeliest. `bias` is added to the logits of its tokens. `logprobs`
    is how many alternatives to tell of each token; None tells nothing.
    """

    temperature: float
    top_p: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: dict[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    constraint: Constraint | None = None
    counts: Counter[int] = field(default_factory=Counter)
    # A draw for each token: whoever is in the batch, a seed gives the same ones.
    draws: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.draws = random.Random(self.seed)

    def adjust(self, logits: torch.Tensor) -> None:
        """Apply bias, penalties and constraint to a row of logits."""
        if self.bias:
            tokens = torch.tensor(list(self.bias), device=logits.device)
            logits.index_add_(0, tokens, logits.new_tensor(list(self.bias.values())))
        if self.counts and (self.presence_penalty or self.frequency_penalty):
            tokens = torch.tensor(list(self.counts), device=logits.device)
            counts = logits.new_tensor(list(self.counts.values()))
            lowered = self.presence_penalty + self.frequency_penalty * counts
            logits.index_add_(0, tokens, -lowered)
        if self.constraint is not None:
            self.constraint.restrict(logits)

    def note(self, token: int) -> None:
        """Remember the token that was chosen."""
        if self.presence_penalty or self.frequency_penalty:
            self.counts[token] += 1
        if self.constraint is not None:
            self.constraint.accept(token)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token; with `logprobs`, its log probability and those of the likeliest tokens.

    They are those of temperature 1, after bias, penalties and constraint.
    """

    token: int
    logprob: float = 0.0
    likeliest: Sequence[tuple[int, float]] = ()


def choose(logits: torch.Tensor, rows: Sequence[Sampling]) -> list[Chosen]:
    """The next token of each row; `logits` are rows by vocabulary, and are changed."""
    logits = logits.float()
    for number, row in enumerate(rows):
        row.adjust(logits[number])
    tokens = logits.argmax(dim=-1).tolist()
    drawn = [number for number, row in enumerate(rows) if row.temperature > 0]
    if drawn:
        picked = logits if len(drawn) == len(rows) else logits[drawn]
        for number, token in zip(drawn, _draw(picked, [rows[n] for n in drawn]), strict=True):
            tokens[number] = token
    for row, token in zip(rows, tokens, strict=True):
        row.note(token)
    return [
        Chosen(token) if row.logprobs is None else _told(logits[number], token, row.logprobs)
        for number, (row, token) in enumerate(zip(rows, tokens, strict=True))
    ]


def _draw(logits: torch.Tensor, rows: Sequence[Sampling]) -> list[int]:
    """A token for each row by temperature and top_p."""
    temperatures = logits.new_tensor([row.temperature for row in rows])[:, None]
    scaled = logits / temperatures
    draws = [row.draws.random() for row in rows]
    tokens = [-1] * len(rows)
    bounded = [number for number, row in enumerate(rows) if row.top_p < 1]
    if bounded:
        part = scaled if len(bounded) == len(rows) else scaled[bounded]
        found = _nucleus(part, [rows[n].top_p for n in bounded], [draws[n] for n in bounded])
        for number, token in zip(bounded, found, strict=True):
            tokens[number] = token
    free = [number for number, row in enumerate(rows) if row.top_p >= 1]
    if free:
        part = scaled if len(free) == len(rows) else scaled[free]
        mass = torch.softmax(part, dim=-1).cumsum(dim=-1)
        for number, token in zip(free, _at(mass, [draws[n] for n in free]), strict=True):
            tokens[number] = token
    return tokens


def _nucleus(logits: torch.Tensor, top_p: list[float], draws: list[float]) -> list[int]:
    """Draw among the likeliest tokens that together have `top_p` of the probability."""
    # The likeliest one is always among them.
    limits = logits.new_tensor(top_p)[:, None].clamp(min=LEAST)
    most = min(LIKELIEST, logits.shape[-1])
    values, tokens = logits.topk(most, dim=-1)
    probabilities = (values - logits.logsumexp(dim=-1, keepdim=True)).exp()
    if bool((probabilities.sum(dim=-1, keepdim=True) < limits).any()):
        values, tokens = logits.sort(dim=-1, descending=True)
        probabilities = values.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    mass = probabilities.masked_fill(before >= limits, 0.0).cumsum(dim=-1)
    places = _at(mass, draws)
    return [int(tokens[number, place]) for number, place in enumerate(places)]


def _at(mass: torch.Tensor, draws: list[float]) -> list[int]:
    """Where each row's rising `mass` passes its draw's part of the whole."""
    wanted = mass[:, -1:] * mass.new_tensor(draws)[:, None]
    places: list[int] = (mass <= wanted).sum(dim=-1).clamp(max=mass.shape[-1] - 1).tolist()
    return places


def _told(logits: torch.Tensor, token: int, most: int) -> Chosen:
    logprobs = logits.log_softmax(dim=-1)
    values, tokens = logprobs.topk(most) if most else (logprobs[:0], logprobs[:0])
    likeliest = list(zip(tokens.tolist(), map(_finite, values.tolist()), strict=True))
    return Chosen(token, _finite(float(logprobs[token])), likeliest)


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else IMPOSSIBLE
