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

    def allowed(self) -> torch.Tensor | None:
        """A bit for each token that may come, in words of 32 on the CPU; None: all may."""

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
        """Apply bias and penalties to a row of logits."""
        if self.bias:
            tokens = torch.tensor(list(self.bias), device=logits.device)
            logits.index_add_(0, tokens, logits.new_tensor(list(self.bias.values())))
        if self.counts and (self.presence_penalty or self.frequency_penalty):
            tokens = torch.tensor(list(self.counts), device=logits.device)
            counts = logits.new_tensor(list(self.counts.values()))
            lowered = self.presence_penalty + self.frequency_penalty * counts
            logits.index_add_(0, tokens, -lowered)

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
    """The next token of each row; `logits` are rows by vocabulary, and are changed.

    However many rows there are, a GPU is waited for once, and once more for log probabilities.
    """
    logits = logits.float()
    for number, row in enumerate(rows):
        row.adjust(logits[number])
    _restrict(logits, [row.constraint for row in rows])
    tokens = _tokens(logits, rows)
    for row, token in zip(rows, tokens, strict=True):
        row.note(token)
    chosen = [Chosen(token) for token in tokens]
    wanted = [number for number, row in enumerate(rows) if row.logprobs is not None]
    if wanted:
        most = [rows[number].logprobs or 0 for number in wanted]
        told = _told(_rows(logits, wanted), [tokens[number] for number in wanted], most)
        for number, one in zip(wanted, told, strict=True):
            chosen[number] = one
    return chosen


def _rows(logits: torch.Tensor, numbers: Sequence[int]) -> torch.Tensor:
    return logits if len(numbers) == len(logits) else logits[list(numbers)]


def _restrict(logits: torch.Tensor, constraints: Sequence[Constraint | None]) -> None:
    """Set what may not come to minus infinity."""
    found = [(n, one.allowed()) for n, one in enumerate(constraints) if one is not None]
    masks = [(number, mask) for number, mask in found if mask is not None]
    if not masks:
        return
    words = torch.stack([mask for _, mask in masks]).to(logits.device)
    bits = torch.arange(32, dtype=torch.int32, device=logits.device)
    allowed = ((words[:, :, None] >> bits) & 1).flatten(1)[:, : logits.shape[1]]
    hidden = torch.zeros_like(allowed, dtype=logits.dtype).masked_fill_(allowed == 0, -torch.inf)
    numbers = torch.tensor([number for number, _ in masks], device=logits.device)
    logits.index_add_(0, numbers, hidden)


def _tokens(logits: torch.Tensor, rows: Sequence[Sampling]) -> list[int]:
    """The likeliest token of each row, or one drawn by temperature and top_p."""
    tokens = logits.argmax(dim=-1)
    few = torch.zeros_like(tokens, dtype=torch.bool)
    draws = {number: row.draws.random() for number, row in enumerate(rows) if row.temperature > 0}
    bounded = [number for number in draws if rows[number].top_p < 1]
    free = [number for number in draws if rows[number].top_p >= 1]
    if free:
        mass = _scaled(logits, rows, free).softmax(dim=-1).cumsum(dim=-1)
        tokens[free] = _at(mass, [draws[number] for number in free])
    if bounded:
        scaled = _scaled(logits, rows, bounded)
        tokens[bounded], few[bounded] = _nucleus(scaled, rows, bounded, draws, LIKELIEST)
    chosen, lacking = torch.stack((tokens, few)).tolist()
    again = [number for number in bounded if lacking[number]]
    if again:
        scaled = _scaled(logits, rows, again)
        sorted_out, _ = _nucleus(scaled, rows, again, draws, logits.shape[-1])
        for number, token in zip(again, sorted_out.tolist(), strict=True):
            chosen[number] = token
    return [int(token) for token in chosen]


def _scaled(logits: torch.Tensor, rows: Sequence[Sampling], numbers: Sequence[int]) -> torch.Tensor:
    temperatures = logits.new_tensor([rows[number].temperature for number in numbers])
    return _rows(logits, numbers) / temperatures[:, None]


def _nucleus(
    scaled: torch.Tensor,
    rows: Sequence[Sampling],
    numbers: Sequence[int],
    draws: dict[int, float],
    most: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw among the likeliest tokens that together have `top_p` of the probability.

    Looks at `most` of them; the second answer tells of each row whether that was too few.
    """
    # The likeliest one is always among them.
    top_p = [max(rows[number].top_p, LEAST) for number in numbers]
    limits = scaled.new_tensor(top_p)[:, None]
    most = min(most, scaled.shape[-1])
    values, tokens = scaled.topk(most, dim=-1)
    probabilities = (values - scaled.logsumexp(dim=-1, keepdim=True)).exp()
    few = probabilities.sum(dim=-1) < limits[:, 0]
    if most == scaled.shape[-1]:
        few = torch.zeros_like(few)
    before = probabilities.cumsum(dim=-1) - probabilities
    mass = probabilities.masked_fill(before >= limits, 0.0).cumsum(dim=-1)
    places = _at(mass, [draws[number] for number in numbers])
    return tokens.gather(1, places[:, None])[:, 0], few


def _at(mass: torch.Tensor, draws: Sequence[float]) -> torch.Tensor:
    """Where each row's rising `mass` passes its draw's part of the whole."""
    wanted = mass[:, -1:] * mass.new_tensor(draws)[:, None]
    return (mass <= wanted).sum(dim=-1).clamp(max=mass.shape[-1] - 1)


def _told(logits: torch.Tensor, tokens: Sequence[int], most: Sequence[int]) -> list[Chosen]:
    """The tokens with their log probabilities, and `most` of the likeliest."""
    whole = logits.logsumexp(dim=-1, keepdim=True)
    mine = torch.tensor(tokens, device=logits.device)[:, None]
    values, likeliest = logits.topk(max(most), dim=-1)
    # Numbers of tokens are exact as float64, so that one transfer is enough.
    found = torch.cat((logits.gather(1, mine) - whole, values - whole), dim=1).double()
    found = torch.cat((found, likeliest), dim=1).tolist()
    chosen = []
    for token, row, count in zip(tokens, found, most, strict=True):
        logprobs, names = row[1 : 1 + count], row[1 + max(most) : 1 + max(most) + count]
        top = [(int(name), _finite(value)) for name, value in zip(names, logprobs, strict=True)]
        chosen.append(Chosen(token, _finite(row[0]), top))
    return chosen


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else IMPOSSIBLE
