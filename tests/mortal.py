"""Processes that die: each does one deed of the product's, and kills itself (SIGKILL) on the way.

Where, is a number: boundaries are counted as they come. One lies wherever others may see a
change: before something goes out to PostgreSQL, Valkey, Stripe or the disk, while it is under way
(asked and not answered), and when the answer is there. So nobody has to list them, and a new
statement brings its own.

`python -m tests.mortal` takes deeds as lines of JSON. It has neither threads nor connections,
so each mortal is its fork, made in a millisecond.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from tests.leftovers import eventually

ROOT = Path(__file__).parent.parent
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
"""


@dataclass(frozen=True)
class Fate:
    """How a deed ended: `at` which boundary its process died, None if it lived; then `passed`
    is how many there were."""

    at: str | None
    passed: int


class Mortals:
    """The process that they all come from."""

    def __init__(self, database: str) -> None:
        url = settings.DATABASE_URL.replace("/modelpilot?", f"/{database}?")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mortal"],
            cwd=ROOT,
            env={**settings.CHILD_ENVIRONMENT, "DATABASE_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, deed: str, die_at: int, **arguments: Any) -> Fate:
        """Do a deed of `tests.deeds` in a process that dies at that boundary, if it gets there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        stripe = {"STRIPE_SECRET_KEY": settings.STRIPE_SECRET_KEY}
        stripe["STRIPE_API_BASE"] = settings.STRIPE_API_BASE
        order = {"deed": deed, "die_at": die_at, "arguments": arguments, "settings": stripe}
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        assert answer["error"] is None, answer["error"]
        return Fate(answer["at"], answer["passed"])

    def deaths(
        self, deed: str, prepare: Callable[[], dict[str, Any]], *, stride: int = 1
    ) -> Iterator[str]:
        """Do it again and again, dying `stride` boundaries later each time, until one lives.

        `prepare` makes the arguments of each; yields the boundary after each death, once what the
        dead had asked PostgreSQL for is done, or not.
        """
        die_at = 1
        while (at := self.do(deed, die_at, **prepare()).at) is not None:
            eventually(nobody_else_asks)
            yield at
            die_at += stride

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def nobody_else_asks() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(OTHERS)
        found: tuple[int] = cursor.fetchone()
        return found == (0,)


@pytest.fixture(scope="session")
def mortals(django_db_setup: None) -> Iterator[Mortals]:
    mine = Mortals(connection.settings_dict["NAME"])
    yield mine
    mine.close()


# Below: in the process of its own.


@dataclass
class Boundaries:
    """Counts, once told at which one to die."""

    die_at: int | None = None
    passed: int = 0
    # Where the last word goes.
    pipe: int = -1
    thread: int = field(default_factory=threading.get_ident)

    def reach(self, name: str) -> None:
        # What other threads do (a pool that connects) changes nothing that others see.
        if self.die_at is None or threading.get_ident() != self.thread:
            return
        self.passed += 1
        if self.passed == self.die_at:
            os.write(self.pipe, json.dumps({"at": name}).encode())
            os.kill(os.getpid(), signal.SIGKILL)


boundaries = Boundaries()


def around(owner: Any, name: str, word: Callable[..., str]) -> None:
    """A boundary before each call of this function, and one after it."""
    original = getattr(owner, name)

    def bounded(*arguments: Any, **options: Any) -> Any:
        boundaries.reach(f"before {word(*arguments)}")
        result = original(*arguments, **options)
        boundaries.reach(f"after {word(*arguments)}")
        return result

    setattr(owner, name, bounded)


def asking(steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """psycopg's steps of one question; it waits for an answer wherever it yields."""
    ready = None
    while True:
        try:
            wanted = steps.send(ready)
        except StopIteration as end:
            return end.value
        boundaries.reach("PostgreSQL was asked")
        ready = yield wanted


def set_boundaries() -> None:
    import psycopg
    import redis.connection
    import requests

    wait = psycopg.Connection.wait

    def bounded_wait(self: Any, steps: Any, *arguments: Any, **options: Any) -> Any:
        boundaries.reach("before PostgreSQL")
        result = wait(self, asking(steps), *arguments, **options)
        boundaries.reach("PostgreSQL has answered")
        return result

    psycopg.Connection.wait = bounded_wait  # type: ignore[assignment,method-assign]
    around(redis.connection.AbstractConnection, "send_packed_command", lambda *_: "Valkey")
    around(requests.Session, "send", lambda *_: "Stripe")
    around(os, "fsync", lambda *_: "a file is on the disk")
    around(Path, "replace", lambda *_: "a file has its name")


def die(order: dict[str, Any], pipe: int) -> None:
    """In the fork: do the deed. `boundaries` kills us meanwhile, if it gets there."""
    from tests import deeds

    for name, value in order["settings"].items():
        setattr(settings, name, value)
    boundaries.pipe = pipe
    error = None
    try:
        # A deed does what goes before by itself, and then says that it counts.
        for _ in getattr(deeds, order["deed"])(**order["arguments"]):
            boundaries.die_at = order["die_at"]
        boundaries.die_at = None
    except Exception as failure:
        error = repr(failure)
    last = {"at": None, "passed": boundaries.passed, "error": error}
    os.write(pipe, json.dumps(last).encode())


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelpilot.settings")
    import django

    django.setup()
    import kombu.transport.redis  # noqa: F401

    import tests.deeds  # noqa: F401

    set_boundaries()
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            die(json.loads(line), writing)
            os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with os.fdopen(reading) as said:
            last = json.loads(said.read() or '{"error": "It died without a word."}')
        print(json.dumps({"at": None, "passed": 0, "error": None, **last}), flush=True)


if __name__ == "__main__":
    # Its deeds look for `boundaries` in the module of that name.
    sys.modules["tests.mortal"] = sys.modules["__main__"]
    main()
