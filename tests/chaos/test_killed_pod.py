"""kill -9 of the pod in the middle of a job."""

import base64
import json
import time
from collections.abc import Callable

import pytest

from tests.api.caller import Caller
from tests.api.conftest import NewCaller
from tests.chaos.breaking import (
    all_ended,
    assert_all_said,
    assert_paid,
    in_background,
    kill_pods,
    newest_running,
    submitted,
    wait_until_running,
)
from tests.chaos.database import LEASE_S, watching
from tests.chaos.promises import p95, percentiles
from tests.system import System


def test_a_waiting_client_gets_its_answer(
    system: System, newcomer: NewCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    dora = newcomer()
    answer = in_background(lambda: dora.chat("a b", "echo-slow", max_tokens=40))
    job = newest_running(dora)
    time.sleep(0.5)
    kill_pods(system)
    killed = time.monotonic()
    response = answer.result()
    with capsys.disabled():
        print(f"\npod killed: answered after {time.monotonic() - killed:.1f} s, 2 s of it words")
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] == "a b " * 20
    assert dora.job(job)["attempt"] == 2
    assert_paid(system, dora, 1)


def test_jobs_run_again_and_are_charged_once(system: System, newcomer: NewCaller) -> None:
    dora = newcomer()
    jobs = submitted(dora, 20)
    wait_until_running(dora, jobs)
    kill_pods(system)
    ended = all_ended(dora, jobs)
    assert_all_said(ended)
    assert {job["attempt"] for job in ended} == {2}
    assert_paid(system, dora, 20)


def test_jobs_of_killed_pods_are_claimed_again_in_time(
    system: System, newcomer: NewCaller, record_property: Callable[[str, object], None]
) -> None:
    dora = newcomer()
    jobs = []
    with watching(system.data) as watcher:
        for _ in range(5):
            jobs += submitted(dora, 8, tokens=20)
            wait_until_running(dora, jobs[-8:])
            with watcher.taking(None):
                kill_pods(system)
            all_ended(dora, jobs)
    ended = all_ended(dora, jobs)
    assert {job["state"] for job in ended} == {"succeeded"}
    assert_paid(system, dora, 40)
    back = [lost.back_s for lost in watcher.lost.values() if lost.back_s is not None]
    assert len(back) >= 20
    assert p95(back) <= LEASE_S + 10
    record_property(
        "reached",
        f"5 pods killed: their {len(back)} jobs claimed again after {percentiles(back)}",
    )


def test_a_stream_ends_with_an_error_and_costs_nothing(system: System, newcomer: NewCaller) -> None:
    dora = newcomer()
    with dora.stream("a b", "echo-slow", max_tokens=100) as lines:
        data = lines.data()
        for _ in range(5):
            next(data)
        kill_pods(system)
        *_, last = data
    error = json.loads(last)["error"]
    assert error["code"] == "pod_died"
    assert "send the request again" in error["message"]
    job = dora.newest_job()
    assert (job["state"], job["attempt"]) == ("failed", 1)
    assert_paid(system, dora, 0)


def test_speech_is_spoken_by_the_next_pod(system: System, newcomer: NewCaller) -> None:
    dora = newcomer()
    text = "This takes a moment. And this does, too. There is a third sentence as well."
    body = {"model": "kokoro", "text": text}
    answer = in_background(lambda: dora.post("generate/audio", body, headers={"Prefer": "wait=60"}))
    job = newest_running(dora)
    kill_pods(system)
    response = answer.result()
    assert response.status_code == 200, response.text
    assert base64.b64decode(response.json()["audio"]).startswith(b"RIFF")
    ended = dora.job(job)
    assert ended["attempt"] == 2
    assert len(ended["outputs"]) == 1
    assert Caller(dora.base_url, "").get(
        ended["outputs"][0]["url"].removeprefix(dora.base_url)
    ).content == base64.b64decode(response.json()["audio"])
    assert_paid(system, dora, 2)
