"""Valkey is killed, or forgets everything: it carries bells and liveness, never the truth."""

import time

import pytest
import redis

from modelpilot import embedded
from tests.api.conftest import NewCaller
from tests.chaos.breaking import (
    all_ended,
    assert_all_said,
    assert_paid,
    in_background,
    kill_server,
    submitted,
    wait_until_running,
)
from tests.system import System


def test_killed_during_twenty_jobs(
    system: System, newcomer: NewCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    dora = newcomer()
    waiting = in_background(lambda: dora.chat("a b", "echo-slow", max_tokens=40))
    jobs = submitted(dora, 20)
    wait_until_running(dora, jobs)
    kill_server(system, "valkey")
    killed = time.monotonic()
    assert dora.chat("hello", "echo-slow", max_tokens=1).status_code == 200
    with capsys.disabled():
        print(f"\nValkey killed: a new request is answered {time.monotonic() - killed:.1f} s later")
    assert_all_said(all_ended(dora, jobs))
    assert waiting.result().status_code == 200
    assert_paid(system, dora, 22)


def test_killed_while_a_client_reads_a_stream(system: System, newcomer: NewCaller) -> None:
    dora = newcomer()
    with dora.stream("a b", "echo-slow", max_tokens=80) as lines:
        chunks = lines.chunks()
        first = next(chunks)
        kill_server(system, "valkey")
        rest = list(chunks)
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in [first, *rest])
    assert text == "a b " * 40
    assert rest[-1]["choices"][0]["finish_reason"] == "length"
    assert_paid(system, dora, 1)


def test_flushed_while_jobs_run(system: System, newcomer: NewCaller) -> None:
    dora = newcomer()
    jobs = submitted(dora, 20)

    def read() -> str:
        with dora.stream("a b", "echo-slow", max_tokens=60) as lines:
            return lines.text()

    stream = in_background(read)
    wait_until_running(dora, jobs)
    with redis.Redis.from_url(embedded.redis_url(system.data)) as client:
        for _ in range(5):
            client.flushall()
            time.sleep(0.2)
    assert stream.result() == "a b " * 30
    assert_all_said(all_ended(dora, jobs))
    assert_paid(system, dora, 21)
