"""kill -9 of the web, the node and PostgreSQL: `up` brings them back, and no job is lost."""

import time
from contextlib import suppress

import pytest
import requests

from tests.api.conftest import NewCaller
from tests.chaos.breaking import (
    LATER,
    all_ended,
    answers,
    assert_all_said,
    assert_paid,
    in_background,
    kill_server,
    newest_running,
    submitted,
    wait_until_running,
)
from tests.leftovers import eventually
from tests.system import System


def test_the_web_is_killed_and_a_retry_gets_the_answer(
    system: System, newcomer: NewCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    dora = newcomer()
    key = {"Idempotency-Key": "after-the-crash"}
    lost = in_background(lambda: dora.chat("a b", "echo-slow", max_tokens=40, headers=key))
    job = newest_running(dora)
    web = system.child("web")
    assert web is not None
    web.kill()
    killed = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        lost.result()
    eventually(lambda: answers(system))
    with capsys.disabled():
        print(f"\nweb killed: it answers {time.monotonic() - killed:.1f} s later")
    retried = dora.chat("a b", "echo-slow", max_tokens=40, headers=key)
    assert retried.status_code == 200, retried.text
    assert retried.json()["choices"][0]["message"]["content"] == "a b " * 20
    assert retried.headers["Idempotent-Replayed"] == "true"
    assert dora.job(job)["attempt"] == 1
    assert_paid(system, dora, 1)


def test_a_job_whose_client_went_with_the_web_is_stopped(
    system: System, newcomer: NewCaller
) -> None:
    dora = newcomer()
    lost = in_background(lambda: dora.chat("a b", "echo-slow", max_tokens=1200))
    job = newest_running(dora)
    web = system.child("web")
    assert web is not None
    web.kill()
    with suppress(requests.RequestException):
        lost.result()
    eventually(lambda: answers(system))
    [ended] = all_ended(dora, [job], 45)
    assert (ended["state"], ended["cost"]) == ("cancelled", 0.001)
    assert_paid(system, dora, 1)


def test_the_node_is_killed_and_the_queue_goes_on(system: System, newcomer: NewCaller) -> None:
    dora = newcomer()
    running = submitted(dora, 5)
    wait_until_running(dora, running)
    node = system.child("node")
    assert node is not None
    node.kill()
    later = submitted(dora, 5)
    assert_all_said(all_ended(dora, running))
    assert_all_said(all_ended(dora, later))
    assert_paid(system, dora, 10)


def test_postgres_is_killed_and_no_job_is_lost(
    system: System, newcomer: NewCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    dora = newcomer()
    jobs = submitted(dora, 10)
    wait_until_running(dora, jobs)
    kill_server(system, "postgres")
    killed = time.monotonic()
    refused = dora.chat("a b", headers=LATER)
    if refused.status_code != 202:
        assert refused.status_code == 503, refused.text
        assert refused.json()["error"]["code"] == "service_unavailable"
        assert int(refused.headers["Retry-After"]) > 0
    eventually(lambda: answers(system), 60)
    with capsys.disabled():
        print(f"\nPostgreSQL killed: it answers {time.monotonic() - killed:.1f} s later")
    assert_all_said(all_ended(dora, jobs))
    if refused.status_code == 202:
        all_ended(dora, [refused.json()["id"]])
    assert_paid(system, dora, 10 + (refused.status_code == 202))
