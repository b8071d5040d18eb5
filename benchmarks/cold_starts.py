"""Two models that don't fit together, asked in turn: what was foretold, and what it took.

`python -m benchmarks.cold_starts`: smollm2-135m and piper-joe in memory for one of them. Each
request finds the other model loaded, so each is a cold start; `foretold` is `estimated_time_ms` of
the answer to the request itself.
"""

import json
import sys
import time
import urllib.request
from typing import Any

from benchmarks.stack import Stack, running, table

STARTS = 10
# smollm2-135m alone; its card reckons with 1,150 MB, piper-joe's with 300.
MEMORY_MB = 1300
CHAT = {
    "model": "smollm2-135m",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 64,
}
SPEECH = {"model": "piper-joe", "text": "Hello, welcome to ModelPilot. This is a cold start."}


def ask(stack: Stack, path: str, body: dict[str, Any] | None = None, key: str = "") -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.port}/api/v1/{path}",
        headers={
            "Authorization": f"Bearer {key or stack.key}",
            "Content-Type": "application/json",
            "Prefer": "respond-async",
        },
        data=None if body is None else json.dumps(body).encode(),
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def cold_start(stack: Stack, number: int) -> list[str]:
    path, body = ("chat/completions", CHAT) if number % 2 == 0 else ("generate/audio", SPEECH)
    begun = time.perf_counter()
    accepted = ask(stack, path, body)
    foretold = accepted["estimated_time_ms"] / 1000
    while (job := job_of(stack, accepted))["state"] in ("queued", "running"):
        time.sleep(0.05)
    took = time.perf_counter() - begun
    return [
        f"{number + 1} {body['model']}",
        f"{foretold:.1f} s",
        f"{took:.1f} s",
        f"{foretold - took:+.1f} s",
        str(job["state"]),
    ]


def job_of(stack: Stack, accepted: dict[str, Any]) -> Any:
    return ask(stack, f"jobs/{accepted['id']}")


def main() -> None:
    with running(MODELPILOT_NODE_MEMORY_MB=str(MEMORY_MB)) as stack:
        rows = [cold_start(stack, number) for number in range(STARTS)]
        print(table(["cold start", "foretold", "took", "difference", "ended"], rows))
        served = [each for each in ask(stack, "deployments")["data"] if each["load_seconds"]]
        print(json.dumps(served, indent=2), file=sys.stderr)
        print(json.dumps(ask(stack, "devices"), indent=2), file=sys.stderr)


if __name__ == "__main__":
    main()
