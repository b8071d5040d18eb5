"""Many requests whose prompts begin alike: what is read once, in usage and in time.

    python -m benchmarks.prefix [--requests 1000] [--clients 16]

Every prompt begins with the same thousand tokens and ends with a question of its own. Beside
them some that are as long and begin each in its own way, so that all of it is read.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import stack
from benchmarks.conversation import Reply, ask
from benchmarks.sides import CARDS, MODELS
from benchmarks.stack import BenchmarkError, Stack, table

TOKENS = 4
# Some of the requests with a beginning of their own are enough: each takes long.
UNLIKE = 64
# About a thousand tokens of SmolLM2's.
SHARED = " ".join(f"Rule {number}: be kind to number {number * 7}." for number in range(72))


@dataclass(frozen=True)
class Crowd:
    """What `clients` at once were answered, in how many seconds."""

    replies: list[Reply]
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.replies) / self.seconds

    @property
    def known(self) -> float:
        return statistics.mean(reply.cached for reply in self.replies)

    @property
    def first_ms(self) -> float:
        return statistics.median(reply.first_s for reply in self.replies) * 1000


async def crowd(system: Stack, model: str, prompts: Iterable[str], clients: int) -> Crowd:
    """All answers to the prompts."""
    waiting = iter(prompts)

    async def client() -> list[Reply]:
        return [await ask(system.port, system.key, model, prompt, TOKENS) for prompt in waiting]

    begun = time.perf_counter()
    said = await asyncio.gather(*(client() for _ in range(clients)))
    return Crowd([one for replies in said for one in replies], time.perf_counter() - begun)


def alike(number: int) -> str:
    return f"{SHARED} Question {number}: what is the sum of {number} and {number + 1}?"


def unlike(number: int) -> str:
    return f"{number}. {alike(number)}"


def row(system: Stack, model: str, requests: int, clients: int) -> list[str]:
    others = asyncio.run(crowd(system, model, map(unlike, range(UNLIKE)), clients))
    # Nothing is known before: the first goes alone.
    first = asyncio.run(crowd(system, model, [alike(0)], 1))
    rest = asyncio.run(crowd(system, model, map(alike, range(1, requests)), clients))
    return [
        model,
        str(requests),
        str(first.replies[0].prompt),
        f"{first.known:.0f} / {rest.known:.0f} / {others.known:.0f}",
        f"{rest.first_ms:.0f} / {others.first_ms:.0f}",
        f"{rest.rate:.1f} / {others.rate:.1f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--only", choices=MODELS, help="one of our engines")
    arguments = parser.parse_args()
    header = (
        "model|requests|prompt|known: first / others / unlike|first word, ms: others / unlike"
        "|requests a second: others / unlike"
    )
    rows = []
    try:
        with stack.running(MODELPILOT_CATALOG=str(CARDS)) as system:
            for model in [arguments.only] if arguments.only else MODELS:
                system.post(
                    "/api/v1/chat/completions",
                    {"model": model, "messages": [{"role": "user", "content": "warm"}],
                     "max_tokens": 1},
                )  # fmt: skip
                rows.append(row(system, model, arguments.requests, arguments.clients))
            print("\nTokens, and what it was worth:\n")
            print(table(header.split("|"), rows))
            print(f"\n{system.manage('reconcile')}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
