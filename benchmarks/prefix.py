"""Many requests whose prompts begin alike: what is read once, in usage and in time.

    python -m benchmarks.prefix [--requests 1000] [--clients 16]

Every prompt begins with the same thousand tokens and ends with a question of its own.
"""

import argparse
import asyncio
import statistics
import sys

from benchmarks import stack
from benchmarks.conversation import Reply, ask
from benchmarks.sides import CARDS, MODELS
from benchmarks.stack import BenchmarkError, Stack, table

TOKENS = 4
# About a thousand tokens of SmolLM2's.
SHARED = " ".join(f"Rule {number}: be kind to number {number * 7}." for number in range(72))


async def crowd(system: Stack, model: str, requests: int, clients: int) -> list[Reply]:
    """All answers, the first of them alone, as nothing is known before."""
    numbers = iter(range(1, requests))

    async def client() -> list[Reply]:
        return [await one(system, model, number) for number in numbers]

    first = await one(system, model, 0)
    rest = await asyncio.gather(*(client() for _ in range(clients)))
    return [first, *(reply for replies in rest for reply in replies)]


async def one(system: Stack, model: str, number: int) -> Reply:
    prompt = f"{SHARED} Question {number}: what is the sum of {number} and {number + 1}?"
    return await ask(system.port, system.key, model, prompt, TOKENS)


def row(model: str, replies: list[Reply]) -> list[str]:
    first, *others = replies
    return [
        model,
        str(len(replies)),
        str(first.prompt),
        f"{first.cached} / {statistics.mean(reply.cached for reply in others):.0f}",
        f"{first.first_s * 1000:.0f}",
        f"{statistics.median(reply.first_s for reply in others) * 1000:.0f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--only", choices=MODELS, help="one of our engines")
    arguments = parser.parse_args()
    header = "model|requests|prompt|known, first / others|first word of the first|of the others"
    rows = []
    try:
        with stack.running(MODELPILOT_CATALOG=str(CARDS)) as system:
            for model in [arguments.only] if arguments.only else MODELS:
                system.post(
                    "/api/v1/chat/completions",
                    {"model": model, "messages": [{"role": "user", "content": "warm"}],
                     "max_tokens": 1},
                )  # fmt: skip
                replies = asyncio.run(crowd(system, model, arguments.requests, arguments.clients))
                rows.append(row(model, replies))
            print("\nTokens and ms:\n")
            print(table(header.split("|"), rows))
            print(f"\n{system.manage('reconcile')}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
