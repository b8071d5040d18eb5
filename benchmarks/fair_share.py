"""Ten requests of charlie's, alone and behind two hundred of alice's on the same pod; and a single
one of his behind a hundred of hers that wait for a real text model.

`python -m benchmarks.fair_share`: the ten go to a model that answers one at a time, in 0.2 s.
"""

import time
from typing import Any

from benchmarks.cold_starts import ask
from benchmarks.stack import Stack, running, table

MODEL, TOKENS = "echo:one", 4
MANY, FEW = 200, 10
# Answers 32 at once.
TEXT_MODEL, SLOTS, WAITING, TEXT_TOKENS = "smollm2-135m", 32, 100, 48


def order(
    stack: Stack, key: str, count: int, model: str = MODEL, tokens: int = TOKENS
) -> list[str]:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me something fair."}],
        "max_tokens": tokens,
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


def ended(stack: Stack, key: str, job: str) -> dict[str, Any]:
    while True:
        found: dict[str, Any] = ask(stack, f"jobs/{job}", key=key)
        if found["state"] not in ("queued", "running"):
            return found
        time.sleep(0.02)


def single(stack: Stack, alice: str, charlie: str) -> list[list[str]]:
    """How long charlie's one request waits behind those of alice's, and how many go before it."""
    [warm] = order(stack, charlie, 1, TEXT_MODEL, 1)
    ended(stack, charlie, warm)
    hers = order(stack, alice, SLOTS + WAITING, TEXT_MODEL, TEXT_TOKENS)
    [mine] = order(stack, charlie, 1, TEXT_MODEL, TEXT_TOKENS)
    job = ended(stack, charlie, mine)
    begun = [at for one in hers if (at := ask(stack, f"jobs/{one}", key=alice)["started_at"])]
    ordered, started = job["created_at"], job["started_at"]
    # In whole seconds: what began in the second of either counts too.
    before = [at for at in begun if at <= started]
    overtook = [at for at in before if at >= ordered]
    waiting = len(hers) - len(before) + len(overtook)
    for one in hers:
        ended(stack, alice, one)
    return [
        ["of alice's waiting when he came", str(waiting)],
        ["of these begun before his, at most", f"{len(overtook)} (a turn is {SLOTS})"],
        ["he waited", f"{started - ordered} s"],
    ]


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
        title = f"charlie's one request to {TEXT_MODEL}, behind {SLOTS + WAITING} of alice's"
        print("\n" + table([title, ""], single(stack, alice, charlie)))


if __name__ == "__main__":
    main()
