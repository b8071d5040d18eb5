"""A pod that stands still (SIGSTOP) loses its lease: another one does its work."""

import time

import pytest

from tests.api.conftest import NewCaller
from tests.chaos.breaking import (
    all_ended,
    assert_all_said,
    assert_paid,
    pods,
    submitted,
    wait_until_running,
)
from tests.system import System


def test_its_job_is_rescued(
    system: System, newcomer: NewCaller, capsys: pytest.CaptureFixture[str]
) -> None:
    dora = newcomer()
    jobs = submitted(dora, 3)
    wait_until_running(dora, jobs)
    frozen = pods(system)
    for pod in frozen:
        pod.suspend()
    began = time.monotonic()
    ended = all_ended(dora, jobs, 100)
    with capsys.disabled():
        print(f"\npod frozen: its jobs are done {time.monotonic() - began:.1f} s later")
    assert_all_said(ended)
    assert {job["attempt"] for job in ended} == {2}
    assert_paid(system, dora, 3)
