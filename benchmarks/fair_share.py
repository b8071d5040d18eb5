"""Ten requests of charlie's, alone and behind two hundred of alice's on the same pod.

`python -m benchmarks.fair_share`: a model that answers one request at a time, in 0.2 s.
"""

import time

from benchmarks.cold_starts import ask
from benchmarks.stack import Stack, running, table

MODEL, TOKENS = "echo:one", 4
MANY, FEW = 200, 10


def order(stack: Stack, key: str, count: int) -> list[str]:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "fair"}],
        "max_tokens": TOKENS,
    }
    return [ask(stack, "chat/completions", body, key)["id"] for _ in range(count)]


def waits(stack: Stack, key: str) -> list[float]:
    """Order FEW and wait for them; seconds from the order to each one's end, ascending."""
    begun = time.perf_counter()
    left, ended = set(order(stack, key, FEW)), []
    while left:
        for job in list(left):
            if ask(stack, f"jobs/{job}", key=key)["state"] == "succeeded":
                left.remove(job)
                ended.append(time.perf_counter() - begun)
        time.sleep(0.02)
    return ended


def row(name: str, ended: list[float]) -> list[str]:
    mean = sum(ended) / len(ended)
    return [name, f"{ended[0]:.1f} s", f"{mean:.1f} s", f"{ended[-1]:.1f} s"]


def main() -> None:
    with running() as stack:
        alice, charlie = (
            stack.manage("account", f"{name}@localhost", "--credit", "100").splitlines()[-1]
            for name in ("alice", "charlie")
        )
        waits(stack, charlie)  # loads the model
        alone = waits(stack, charlie)
        order(stack, alice, MANY)
        beside = waits(stack, charlie)
        rows = [row("alone", alone), row(f"beside {MANY} of alice's", beside)]
        print(table([f"charlie's {FEW} requests", "first", "mean", "last"], rows))


if __name__ == "__main__":
    main()
