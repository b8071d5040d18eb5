"""More than a server can take: who comes too many is told when to come again, and nobody hangs.

A product of its own, with bounds so low that a test can reach them.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
import requests

from modelpilot import embedded
from tests.api.caller import Caller, error_of
from tests.leftovers import eventually
from tests.system import System, product

AT_ONCE, QUEUED = 12, 3
LATER = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with product(
        MODELPILOT_REQUESTS_AT_ONCE=str(AT_ONCE), MODELPILOT_JOBS_PER_MODEL=str(QUEUED)
    ) as system:
        yield system.start()


@pytest.fixture(scope="module")
def alice(system: System) -> Caller:
    return Caller(system.base_url, system.account("alice@example.com", "10"))


@pytest.fixture(scope="module")
def charlie(system: System) -> Caller:
    return Caller(system.base_url, system.account("charlie@example.com", "10"))


def assert_told_when(response: requests.Response) -> None:
    error = error_of(response, 503, "overloaded")
    assert error["type"] == "server_error"
    assert 1 <= int(response.headers["Retry-After"]) <= 60


def ready(system: System) -> tuple[int, str]:
    answer = requests.get(f"{system.base_url}/readyz", timeout=10)
    return answer.status_code, answer.json()["status"]


def test_past_as_many_requests_as_it_takes(system: System, alice: Caller) -> None:
    assert ready(system) == (200, "ready")
    # Its pod is there: what waits for one is bounded, too.
    assert alice.chat("warm", "echo-slow", max_tokens=1).status_code == 200
    before = alice.available()
    with ExitStack() as stack:
        streams = [
            stack.enter_context(alice.stream(f"stay {number}", "echo-slow", max_tokens=2400))
            for number in range(AT_ONCE)
        ]
        for lines in streams:
            assert lines.response.status_code == 200, lines.response.text
            assert next(iter(lines))
        for _ in range(3):
            assert_told_when(alice.chat("one more"))
        page = requests.get(f"{system.base_url}/pricing", timeout=10)
        assert (page.status_code, page.headers["Content-Type"]) == (
            503,
            "text/plain; charset=utf-8",
        )
        assert int(page.headers["Retry-After"]) > 0
        assert requests.get(f"{system.base_url}/healthz", timeout=10).status_code == 200
        assert ready(system) == (503, "overloaded")
        doctor = system.manage("doctor")
        assert "warn  The web server" in doctor, doctor
    eventually(lambda: ready(system) == (200, "ready"))
    assert alice.chat("one more").status_code == 200
    # Those that were let in pay for what they got, and nobody else pays anything.
    eventually(lambda: alice.held() == 0)
    assert round(before - alice.available(), 6) == round((AT_ONCE + 1) * 0.001, 6)


def test_past_as_many_jobs_as_may_wait(system: System, alice: Caller, charlie: Caller) -> None:
    with frozen_node(system):
        key = {**LATER, "Idempotency-Key": "the first one"}
        first = alice.chat("wait", "echo:bench", headers=key)
        jobs = [alice.chat("wait", "echo:bench", headers=LATER) for _ in range(QUEUED - 1)]
        assert {job.status_code for job in (first, *jobs)} == {202}
        # The count is a second old at most.
        time.sleep(1.1)
        before = alice.available()
        assert_told_when(alice.chat("wait", "echo:bench", headers=LATER))
        assert alice.available() == before
        # What was accepted still is, and nobody shuts out the others.
        assert alice.chat("wait", "echo:bench", headers=key).json()["id"] == first.json()["id"]
        others = charlie.chat("wait", "echo:bench", headers=LATER)
        assert others.status_code == 202
        assert_told_when(charlie.chat("wait", "echo:bench", headers=LATER))
        # Another model has a queue of its own.
        assert alice.chat("wait", "echo-slow", headers=LATER).status_code == 202
    for job in (first, *jobs):
        assert alice.ended(job.json()["id"], 90)["state"] == "succeeded"
    assert charlie.ended(others.json()["id"], 90)["state"] == "succeeded"


@contextmanager
def frozen_node(system: System) -> Iterator[None]:
    """Nobody starts a pod meanwhile."""
    node = system.child("node")
    assert node is not None
    node.suspend()
    try:
        yield
    finally:
        node.resume()


def test_an_account_that_is_locked_holds_up_nobody_for_long(
    system: System, alice: Caller, charlie: Caller
) -> None:
    """Somebody's forgotten transaction holds alice's row: each of her submits waits for it."""
    assert charlie.chat("warm").status_code == 200
    with psycopg.connect(embedded.database_url(system.data)) as forgotten:
        forgotten.execute(
            "SELECT 1 FROM billing_account WHERE owner_id = "
            "(SELECT id FROM accounts_user WHERE email = 'alice@example.com') FOR UPDATE"
        )
        begun = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            stuck = [threads.submit(alice.chat, "hello") for _ in range(8)]
            time.sleep(0.5)
            answer = charlie.chat("hello")
            waited = time.monotonic() - begun
            for each in stuck:
                error_of(each.result(), 503, "service_unavailable")
    assert answer.status_code in (200, 503), answer.text
    assert waited < 30
    assert charlie.chat("hello").status_code == 200
    assert alice.chat("hello").status_code == 200
    assert alice.held() == 0


def test_when_others_have_all_connections_of_the_database(system: System, alice: Caller) -> None:
    url = embedded.database_url(system.data)
    with ExitStack() as stack:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            while True:
                stack.enter_context(psycopg.connect(url))
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda number: alice.chat(f"hello {number}"), range(16)))
        for answer in answers:
            # It works with those that it has, or says so.
            if answer.status_code != 200:
                error_of(answer, 503, "service_unavailable")
                assert int(answer.headers["Retry-After"]) > 0
    eventually(lambda: alice.chat("again").status_code == 200, 60)
    assert "The books are proved." in system.manage("reconcile")
