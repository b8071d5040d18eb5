"""One of our engines alone in this process, driven by lines of JSON on standard input.

    python -m benchmarks.bare MODEL [CARDS]

A line {"prompts": [[…], …], "tokens": 64} has a list of prompts for each client; the answer is
{"replies": [[tokens, first_s, total_s], …], "seconds"}.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from inference import catalog, engines, weights
from inference.cores import cores
from inference.types import ChatRequest, Delta, Device, Engine, Event

DATA = Path("data")


def main() -> None:
    model, *cards = sys.argv[1:]
    card = catalog.load([Path(name) for name in cards]).cards[model]
    found = weights.fetch(card, DATA / "models", DATA / "cache", lambda fraction: None)
    engine = engines.load(card, found, Device("cpu", threads=cores()))
    say({"ready": True})
    for line in sys.stdin:
        asked = orjson.loads(line)
        begun = time.perf_counter()
        with ThreadPoolExecutor(len(asked["prompts"])) as clients:
            client = partial(answers, engine, asked["tokens"])
            replies = [reply for said in clients.map(client, asked["prompts"]) for reply in said]
        seconds = time.perf_counter() - begun
        say({"replies": replies, "seconds": seconds})
    engine.close()


def answers(engine: Engine, tokens: int, prompts: list[str]) -> list[tuple[int, float, float]]:
    return [answer(engine, prompt, tokens) for prompt in prompts]


def answer(engine: Engine, prompt: str, tokens: int) -> tuple[int, float, float]:
    spoke = threading.Event()
    first_at = 0.0

    def hear(event: Event) -> None:
        nonlocal first_at
        if isinstance(event, Delta) and not spoke.is_set():
            first_at = time.perf_counter()
            spoke.set()

    begun = time.perf_counter()
    request = ChatRequest(
        messages=[{"role": "user", "content": prompt}], max_tokens=tokens, temperature=0.0
    )
    result = engine.generate(request, hear)
    ended = time.perf_counter()
    return result.data["usage"]["completion_tokens"], first_at - begun, ended - begun


def say(value: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
