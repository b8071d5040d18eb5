"""The same prompts, greedy, one by one and all at once: are the tokens the same?

    python -m benchmarks.batched [--count 32] [--tokens 64] [--data data]

SmolLM2 on both engines, on transformers in float32 and in bfloat16. "decided alike" counts tokens
up to the first one that differs in an answer: those after it answer another text. The gap is how
much likelier, in nats, the first choice was than the second where the two ways parted.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks.sides import question
from benchmarks.stack import table
from inference import catalog, engines, weights
from inference.catalog import Card
from inference.cores import cores
from inference.types import ChatRequest, Device, Engine

MODEL = "smollm2-135m"
GOAL = 0.99


@dataclass(frozen=True)
class Way:
    """An engine with the same weights, and whether its answers must be the same in a batch."""

    engine: str
    dtype: str | None = None
    exact: bool = True

    @property
    def name(self) -> str:
        return f"{self.engine}, {self.dtype or '4 bits'}"

    def card(self) -> Card:
        card = catalog.load([]).cards[MODEL].way(self.engine, "cpu")
        if self.dtype is None:
            return card
        options = {**card.options, "dtype": self.dtype}
        return card.model_copy(update={"options": options, "memory_mb": 4000})


WAYS = (
    Way("text_llamacpp"),
    Way("text_transformers", "float32"),
    Way("text_transformers", "bfloat16", exact=False),
)

Said = list[dict[str, Any]]


def answer(engine: Engine, prompt: str, tokens: int) -> Said:
    request = ChatRequest(
        messages=[{"role": "user", "content": prompt}],
        max_tokens=tokens,
        temperature=0.0,
        logprobs=True,
        top_logprobs=2,
    )
    choice = engine.generate(request, lambda event: None).data["choices"][0]
    said: Said = choice["logprobs"]["content"]
    return said


def gap(entry: dict[str, Any]) -> float:
    """By how much the first choice led there."""
    first, second = sorted((other["logprob"] for other in entry["top_logprobs"]), reverse=True)
    return float(first - second)


@dataclass(frozen=True)
class Comparison:
    same: float
    decided: float
    answers: int
    gaps: list[float]


def compare(alone: list[Said], together: list[Said]) -> Comparison:
    same = total = decided = answers = 0
    gaps = []
    for one, other in zip(alone, together, strict=True):
        alike = [
            a is not None and b is not None and a["token"] == b["token"]
            for a, b in zip_longest(one, other)
        ]
        same += sum(alike)
        total += len(alike)
        first = alike.index(False) if False in alike else len(alike)
        decided += first
        answers += all(alike)
        if first < min(len(one), len(other)):
            gaps.append(gap(one[first]))
    parted = len(alone) - answers
    return Comparison(same / total, decided / (decided + parted), answers, gaps)


def both_ways(engine: Engine, count: int, tokens: int) -> Comparison:
    prompts = [question(number) for number in range(count)]
    alone = [answer(engine, prompt, tokens) for prompt in prompts]
    with ThreadPoolExecutor(count) as clients:
        together = list(clients.map(lambda prompt: answer(engine, prompt, tokens), prompts))
    return compare(alone, together)


def compared(arguments: argparse.Namespace) -> Iterator[tuple[Way, Comparison]]:
    for way in WAYS:
        card = way.card()
        found = weights.fetch(
            card, arguments.data / "models", arguments.data / "cache", lambda _: None
        )
        engine = engines.load(card, found, Device(threads=cores()))
        try:
            yield way, both_ways(engine, arguments.count, arguments.tokens)
        finally:
            engine.close()


def row(way: Way, found: Comparison, count: int) -> list[str]:
    middle = f"{statistics.median(found.gaps):.3f}" if found.gaps else "-"
    return [
        way.name,
        f"{found.same:.1%}",
        f"{found.decided:.2%}",
        f"{found.answers} of {count}",
        middle,
        f"{max(found.gaps):.3f}" if found.gaps else "-",
    ]


def main() -> int:
    """0 if the engines that must say the same in a batch do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--data", type=Path, default=Path("data"), help="where weights are kept")
    arguments = parser.parse_args()
    rows, missed = [], []
    for way, found in compared(arguments):
        rows.append(row(way, found, arguments.count))
        if way.exact and found.same < GOAL:
            missed.append(way.name)
    header = "|same tokens|decided alike|same answers|gap, median|gap, most".split("|")
    print(table(header, rows))
    if missed:
        print(f"Below {GOAL:.0%}: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
