"""A long answer, read through many connections while what brings it is killed."""

import threading
import time
from collections.abc import Callable

import requests

from tests.api.conftest import NewCaller
from tests.api.test_events import Follower
from tests.chaos.breaking import LATER, answers, assert_paid, kill_server
from tests.leftovers import eventually
from tests.system import System

TOKENS = 2000
RECONNECTS = 20
PATIENCE_S = 120.0


def test_two_thousand_tokens_over_twenty_connections(
    system: System, newcomer: NewCaller, record_property: Callable[[str, object], None]
) -> None:
    dora = newcomer()
    dora.chat("hello", "echo:bench", max_tokens=1)
    job = dora.chat("every word counts", "echo:bench", max_tokens=TOKENS, headers=LATER)
    follower = Follower(dora, job.json()["id"])
    broken = threading.Thread(target=kill_both, args=[system])
    broken.start()
    connections, errors = 0, 0
    until = time.monotonic() + PATIENCE_S
    while follower.end is None and time.monotonic() < until:
        connections += 1
        try:
            # About as many events as there are tokens, so that it is hung up on often enough.
            follower.follow(most=TOKENS // RECONNECTS // 2)
        except (requests.RequestException, AssertionError):
            errors += 1
            time.sleep(0.2)
    broken.join()
    assert follower.end is not None
    assert (follower.end["state"], follower.end["attempt"]) == ("succeeded", 1)
    assert follower.text == follower.end["result"]["choices"][0]["text"]
    assert (
        follower.text
        == "".join(f"{word} " for word in "every word counts".split() * 667)[: len(follower.text)]
    )
    assert len(follower.text.split()) == TOKENS
    assert connections - errors > RECONNECTS
    assert errors > 0
    eventually(lambda: answers(system))
    assert_paid(system, dora, 2)
    record_property(
        "reached",
        f"{TOKENS} tokens over {connections - errors} connections, and {errors} that Valkey's and "
        "the web's deaths broke: identical",
    )


def kill_both(system: System) -> None:
    time.sleep(4)
    kill_server(system, "valkey")
    time.sleep(4)
    web = system.child("web")
    assert web is not None
    web.kill()
