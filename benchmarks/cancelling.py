"""Thirty-two streams of a pod, thirty-one of which hang up: what the last one gains, who pays.

    python -m benchmarks.cancelling [--streams 32] [--model smollm2-bfloat16]

Through the whole platform, at a price by the token. That a cancelled answer's pages are free
before its engine returns is shown by tests/inference/test_text_transformers.py.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from benchmarks import stack
from benchmarks.sides import CARDS, MODELS, question
from benchmarks.stack import BenchmarkError, Stack, table

# More than a stream has time for.
TOKENS = 1200
# SmolLM2's tokens that end an answer: nobody comes to an end by itself.
ENDS = {"0": -100, "2": -100}
# USD by the million tokens.
INPUT, OUTPUT = 10, 40
# Tokens of the stream that stays: until all have begun, in the crowd, until it is alone, alone.
BEGUN, CROWDED, BETWEEN, ALONE = 4, 24, 4, 48
ENDED_S = 60.0


@dataclass(eq=False)
class Follower:
    """One stream, and when each of its tokens came."""

    stream: AsyncStream[ChatCompletionChunk]
    job: str = ""
    at: list[float] = field(default_factory=list)

    async def read(self, count: int) -> None:
        """On to so many tokens in all."""
        while len(self.at) < count:
            chunk = await anext(self.stream)
            self.job = chunk.id
            for choice in chunk.choices:
                # One log probability for each token, however many came together.
                told = choice.logprobs.content if choice.logprobs else None
                self.at += [time.perf_counter()] * len(told or ())

    def rate(self, since: int, until: int) -> float:
        return (until - since) / (self.at[until - 1] - self.at[since - 1])


async def begin(client: AsyncOpenAI, model: str, number: int) -> Follower:
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question(number)}],
        temperature=0,
        max_tokens=TOKENS,
        logit_bias=ENDS,
        logprobs=True,
        stream=True,
    )
    return Follower(stream)


async def ended(client: AsyncOpenAI, job: str) -> dict[str, Any]:
    give_up = time.monotonic() + ENDED_S
    while time.monotonic() < give_up:
        found: dict[str, Any] = await client.get(f"/jobs/{job}", cast_to=dict[str, Any])
        if found["state"] not in ("queued", "running"):
            return found
        await asyncio.sleep(0.05)
    raise BenchmarkError(f"Job {job} does not end.")


def wrong(follower: Follower, job: dict[str, Any]) -> str | None:
    """What is not right with a stream that hung up, if anything."""
    usage = job["result"]["usage"]
    known = usage["prompt_tokens_details"]["cached_tokens"]
    due = (INPUT * usage["prompt_tokens"] + OUTPUT * usage["completion_tokens"]) / 1_000_000
    if job["state"] != "cancelled":
        return f"{follower.job} is {job['state']}"
    if not len(follower.at) <= usage["completion_tokens"] < TOKENS:
        return f"{follower.job} got {len(follower.at)} and counts {usage['completion_tokens']}"
    if abs(job["cost"] - due) > 1.1e-6:
        return f"{follower.job} cost {job['cost']} instead of {due} ({known} known)"
    return None


async def race(system: Stack, model: str, streams: int) -> list[list[str]]:
    """The rows of the table; BenchmarkError if one of those that left paid wrongly."""
    async with AsyncOpenAI(
        base_url=f"http://127.0.0.1:{system.port}/api/v1", api_key=system.key, max_retries=0
    ) as client:
        last, *others = await asyncio.gather(*(begin(client, model, n) for n in range(streams)))
        await asyncio.gather(*(one.read(BEGUN) for one in (last, *others)))
        # All are read on, as their clients would.
        since = len(last.at)
        reading = [asyncio.create_task(one.read(TOKENS)) for one in others]
        await last.read(since + CROWDED)
        left = time.perf_counter()
        for task in reading:
            task.cancel()
        await asyncio.gather(*(one.stream.close() for one in others))
        until = len(last.at)
        await last.read(until + BETWEEN + ALONE)
        await last.stream.close()
        jobs = await asyncio.gather(*(ended(client, one.job) for one in others))
    if found := [one for pair in zip(others, jobs, strict=True) if (one := wrong(*pair))]:
        raise BenchmarkError("\n".join(found))
    crowded = last.rate(since, since + CROWDED)
    alone = last.rate(until + BETWEEN, until + BETWEEN + ALONE)
    counted = [job["result"]["usage"]["completion_tokens"] for job in jobs]
    more = [count - len(one.at) for count, one in zip(counted, others, strict=True)]
    return [
        [f"tokens/s of the last one beside {streams - 1}", f"{crowded:.1f}"],
        ["and once they had hung up", f"{alone:.1f}"],
        ["faster", f"{alone / crowded:.1f} times"],
        ["its first 4 tokens after that took", f"{last.at[until + BETWEEN - 1] - left:.2f} s"],
        ["tokens that those who left had got", f"{sum(len(one.at) for one in others)}"],
        ["and paid for", f"{sum(counted)}"],
        ["made but not read yet, at most", f"{max(more)}"],
        ["they paid together", f"${sum(job['cost'] for job in jobs):.6f}"],
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--model", choices=MODELS, default=MODELS[-1])
    arguments = parser.parse_args()
    try:
        with stack.running(MODELPILOT_CATALOG=str(CARDS)) as system:
            model = arguments.model
            price = [f"input_tokens={INPUT}", f"output_tokens={OUTPUT}"]
            system.manage("price", "set", model, *price, "--reason", "benchmark")
            warm = {"messages": [{"role": "user", "content": "warm"}], "max_tokens": 1}
            system.post("/api/v1/chat/completions", {"model": model, **warm})
            rows = asyncio.run(race(system, model, arguments.streams))
            print(table([f"{arguments.streams} streams of {model}", ""], rows))
            print(f"\n{system.manage('reconcile')}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
