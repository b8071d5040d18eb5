"""Valkey is killed, or forgets everything: it carries bells and liveness, never the truth."""

import time
from collections.abc import Callable

import redis

from modelpilot import embedded
from modelpilot.embedded import Place
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
from tests.chaos.faults import no_keeper
from tests.leftovers import eventually
from tests.system import System

Record = Callable[[str, object], None]
RESTARTED_S = 10.0


def back_after(system: System) -> float:
    """In how many seconds from now Valkey answers again."""
    began = time.monotonic()
    eventually(lambda: embedded.answers(Place(system.data, "valkey")), 60)
    return time.monotonic() - began


def test_killed_during_twenty_jobs(
    system: System, newcomer: NewCaller, record_property: Record
) -> None:
    dora = newcomer()
    waiting = in_background(lambda: dora.chat("a b", "echo-slow", max_tokens=40))
    jobs = submitted(dora, 20)
    wait_until_running(dora, jobs)
    kill_server(system, "valkey")
    restarted = in_background(lambda: back_after(system))
    killed = time.monotonic()
    assert dora.chat("hello", "echo-slow", max_tokens=1).status_code == 200
    answered = time.monotonic() - killed
    assert restarted.result() < RESTARTED_S
    record_property(
        "reached",
        f"killed: back after {restarted.result():.1f} s, a new request answered after "
        f"{answered:.1f} s",
    )
    assert_all_said(all_ended(dora, jobs))
    assert waiting.result().status_code == 200
    assert_paid(system, dora, 22)


def test_away_while_fifty_jobs_come(
    system: System, newcomer: NewCaller, full: bool, record_property: Record
) -> None:
    dora = newcomer()
    dora.chat("hello", "echo-slow", max_tokens=1)
    away_s = 60.0 if full else 8.0
    with no_keeper(system, "valkey"):
        kill_server(system, "valkey")
        began = time.monotonic()
        jobs = submitted(dora, 50)
        accepted = time.monotonic() - began
        time.sleep(max(0.0, away_s - accepted))
    back = back_after(system)
    assert back < RESTARTED_S
    assert_all_said(all_ended(dora, jobs))
    assert_paid(system, dora, 51)
    record_property(
        "reached",
        f"away for {away_s:.0f} s: {len(jobs)} of 50 jobs accepted in {accepted:.1f} s and done, "
        f"back {back:.1f} s after its keeper was let go",
    )


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


def test_flushed_while_jobs_run(
    system: System, newcomer: NewCaller, record_property: Record
) -> None:
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
    ended = all_ended(dora, jobs)
    assert_all_said(ended)
    assert_paid(system, dora, 21)
    record_property(
        "reached", f"5 FLUSHALL: {len(ended)} of {len(jobs)} jobs and the stream beside them ended"
    )
