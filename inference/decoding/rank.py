"""A process that has one share of a model, and runs the steps that the first one tells it.

Started by `team.Team`, which says on standard input what to load and then what to run. Where that
ends, so does this process, whatever it is doing.
"""

import os
import signal
import sys
import threading
import time
from queue import SimpleQueue
from typing import IO

import torch

from inference.decoding import shares
from inference.decoding.shares import Share
from inference.decoding.step import unpacked
from inference.errors import InferenceError

# Each message begins with its length in so many bytes.
LENGTH = 4
# What is said when all is imported.
READY = b"ready"
# How long it may take to leave in peace, in seconds.
GRACE_S = 2.0


def main() -> int:
    """Load a share and run steps until there are no more; returns the exit status."""
    # Ctrl-C is for the first process, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    say_ready()
    messages: SimpleQueue[bytes | None] = SimpleQueue()
    first = read(sys.stdin.buffer)
    if first is None:
        return 0
    share = Share.from_json(first)
    threading.Thread(target=listen, args=(messages,), daemon=True).start()
    try:
        runner, _ = shares.load(share)
    except InferenceError:
        # All say the same, and the first one is heard.
        return 1
    with torch.inference_mode():
        while (message := messages.get()) is not None:
            runner.run(unpacked(message))
    runner.close()
    shares.part()
    return 0


def say_ready() -> None:
    """Say so where we were asked to; all that libraries print goes to the log."""
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, READY)
    os.close(answer)


def listen(messages: "SimpleQueue[bytes | None]") -> None:
    """Pass on what comes. Who works with others that have died may wait for ever: not so here."""
    while (message := read(sys.stdin.buffer)) is not None:
        messages.put(message)
    messages.put(None)
    time.sleep(GRACE_S)
    os._exit(1)


def read(pipe: IO[bytes]) -> bytes | None:
    """The next message; None: there will be none."""
    length = int.from_bytes(pipe.read(LENGTH), "little")
    message = pipe.read(length)
    return message if length and len(message) == length else None


def write(pipe: IO[bytes], message: bytes) -> None:
    """Send a message; raises OSError where nobody reads it."""
    pipe.write(len(message).to_bytes(LENGTH, "little") + message)
    pipe.flush()


if __name__ == "__main__":
    sys.exit(main())
