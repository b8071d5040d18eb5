"""Many conversations with a real model at once: each gets its own answer, and how fast.

The model computes on one core here; what is gained comes from batching alone.
"""

import asyncio
import time

from benchmarks import conversation
from benchmarks.conversation import Reply
from benchmarks.stack import Stack, table

MODEL = "smollm2-135m"
TOKENS = 64
COUNTRIES = (
    "France Germany Italy Spain Portugal Japan China India Egypt Greece Russia Canada Brazil "
    "Mexico Cuba Peru Chile Kenya Norway Sweden Finland Denmark Poland Austria Hungary Ireland "
    "Turkey Iran Iraq Thailand Vietnam Australia"
).split()


async def ask(system: Stack, country: str) -> Reply:
    return await conversation.ask(
        system.port, system.key, MODEL, f"Name three cities in {country}.", TOKENS
    )


async def one_by_one(system: Stack) -> list[Reply]:
    return [await ask(system, country) for country in COUNTRIES]


async def all_at_once(system: Stack) -> list[Reply]:
    return await asyncio.gather(*(ask(system, country) for country in COUNTRIES))


def benchmark(system: Stack) -> int:
    """Print the comparison; returns how many answers were wrong."""
    asyncio.run(ask(system, COUNTRIES[0]))
    rows, answers = [], []
    for name, way in (("one by one", one_by_one), ("all at once", all_at_once)):
        begun = time.perf_counter()
        answers.append(asyncio.run(way(system)))
        seconds = time.perf_counter() - begun
        tokens = sum(answer.tokens for answer in answers[-1])
        rows.append(
            [
                name,
                str(tokens),
                f"{seconds:.1f}",
                f"{tokens / seconds:.0f}",
                f"{max(answer.first_s for answer in answers[-1]) * 1000:.0f}",
                f"{max(answer.total_s for answer in answers[-1]) * 1000:.0f}",
            ]
        )
    print(f"\n{len(COUNTRIES)} streams of {MODEL}, at most {TOKENS} tokens each:\n")
    print(table(["", "tokens", "s", "tokens/s", "slowest first, ms", "slowest, ms"], rows))
    return compare(*answers)


def compare(alone: list[Reply], together: list[Reply]) -> int:
    """Say which texts differ from those of the same prompts alone; returns how many."""
    same = sum(a.text == b.text for a, b in zip(alone, together, strict=True))
    print(f"\n{same} of {len(alone)} texts are the same in both ways.")
    for country, a, b in zip(COUNTRIES, alone, together, strict=True):
        if a.text != b.text:
            print(f"  {country}:\n    alone: {a.text!r}\n    at once: {b.text!r}")
    return len(alone) - same
