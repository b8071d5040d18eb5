"""A key that is revoked while it is used: by four processes, on every kind of route."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.security.conftest import Cast, Person, Visitor, by_session
from tests.system import System

PROCESSES = 4
SECONDS = 6.0
ROUNDS = 3

# Calls as fast as it can, and writes a line for each: when it was sent, and what was answered.
CALLER = """
import http.client, json, sys, time
port, key, until, out = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), open(sys.argv[4], "w")
chat = {"model": "echo", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]}
calls = [("GET", "/api/v1/balance", None), ("GET", "/v1/models", None),
         ("POST", "/api/v1/quote", {"route": "chat/completions", "body": chat}),
         ("POST", "/api/v1/chat/completions", chat)]
wire = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
number = 0
while time.time() < until:
    method, path, body = calls[number % len(calls)]
    number += 1
    sent = time.time()
    text = json.dumps(body) if body else None
    wire.request(method, path, text, {"Authorization": "Bearer " + key})
    answer = wire.getresponse()
    answer.read()
    out.write(f"{sent} {answer.status}\\n")
out.close()
"""


def test_nothing_is_accepted_after_revoke_returns(
    system: System, cast: Cast, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    accepted_after, refused_after, accepted_before = 0, 0, 0
    for number in range(ROUNDS):
        person, key, key_id = fresh_key(system, cast, number)
        until = time.time() + SECONDS
        outputs = [tmp_path / f"{number}-{process}" for process in range(PROCESSES)]
        callers = [
            subprocess.Popen(
                [sys.executable, "-c", CALLER, str(system.port), key, str(until), str(path)]
            )
            for path in outputs
        ]
        time.sleep(SECONDS / 2)
        revoked_at = revoke(system, person, key_id)
        assert [caller.wait(120) for caller in callers] == [0] * PROCESSES
        for line in (line for path in outputs for line in path.read_text().splitlines()):
            sent, status = line.split()
            taken = status not in ("401", "429")
            accepted_after += taken and float(sent) > revoked_at
            refused_after += not taken and float(sent) > revoked_at
            accepted_before += taken and float(sent) < revoked_at
    assert accepted_before > 50 * ROUNDS, "there was load"
    assert refused_after > 20 * ROUNDS, "and there was after"
    assert accepted_after == 0
    record_property(
        "reached",
        f"{accepted_after} of {refused_after} calls accepted after revoke returned, from "
        f"{PROCESSES} processes, {ROUNDS} times",
    )


def fresh_key(system: System, cast: Cast, number: int) -> tuple[Person, str, int]:
    program = (
        "from modelpilot.accounts import keys; "
        "from modelpilot.accounts.models import ApiKey, User; "
        f"user = User.objects.get(email={cast.alice.email!r}); "
        f"key = keys.create(user, name='round {number}'); "
        "print(key, ApiKey.objects.get(digest=keys.digest(key)).id)"
    )
    key, key_id = system.manage("shell", "-v0", "-c", program).split()[-2:]
    return cast.alice, key, int(key_id)


def revoke(system: System, person: Person, key_id: int) -> float:
    """By the dashboard's button; returns when it had answered."""
    page: Visitor = by_session(system, person)
    answer = page.send("POST", f"/dashboard/keys/{key_id}/revoke")
    assert answer.status_code == 302, answer.text
    return time.time()
