"""Many conversations with a real model at once: each gets its own answer, and how fast.

The model computes on one core here; what is gained comes from batching alone.
"""

import asyncio
import time
from dataclasses import dataclass

import orjson

from benchmarks.load import Connection, dechunked, streamed_texts
from benchmarks.stack import BenchmarkError, Stack, table

MODEL = "smollm2-135m"
TOKENS = 64
ANSWER_S = 300.0
COUNTRIES = (
    "France Germany Italy Spain Portugal Japan China India Egypt Greece Russia Canada Brazil "
    "Mexico Cuba Peru Chile Kenya Norway Sweden Finland Denmark Poland Austria Hungary Ireland "
    "Turkey Iran Iraq Thailand Vietnam Australia"
).split()


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    first_s: float
    total_s: float


async def ask(system: Stack, country: str) -> Answer:
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(Connection, "127.0.0.1", system.port)
    body = orjson.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Name three cities in {country}."}],
            "temperature": 0,
            "max_tokens": TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {system.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    answered: asyncio.Future[None] = loop.create_future()
    connection.begin(answered)
    begun = time.perf_counter()
    try:
        transport.write(head.encode() + body)
        async with asyncio.timeout(ANSWER_S):
            await answered
        total_s = time.perf_counter() - begun
    except (OSError, TimeoutError) as error:
        raise BenchmarkError(f"The answer about {country} broke: {error!r}") from None
    finally:
        transport.abort()
    answer = bytes(connection.buffer[connection.body_at :])
    if connection.buffer[9:12] != b"200":
        raise BenchmarkError(answer.decode())
    events = dechunked(answer)
    usage = orjson.loads(events.split(b"data: ")[-2])["usage"]
    text = "".join(streamed_texts(events))
    return Answer(text, usage["completion_tokens"], connection.first_at - begun, total_s)


async def one_by_one(system: Stack) -> list[Answer]:
    return [await ask(system, country) for country in COUNTRIES]


async def all_at_once(system: Stack) -> list[Answer]:
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


def compare(alone: list[Answer], together: list[Answer]) -> int:
    """Say which texts differ from those of the same prompts alone; returns how many."""
    same = sum(a.text == b.text for a, b in zip(alone, together, strict=True))
    print(f"\n{same} of {len(alone)} texts are the same in both ways.")
    for country, a, b in zip(COUNTRIES, alone, together, strict=True):
        if a.text != b.text:
            print(f"  {country}:\n    alone: {a.text!r}\n    at once: {b.text!r}")
    return len(alone) - same
