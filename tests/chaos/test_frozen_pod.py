"""A pod that stands still (SIGSTOP) loses its lease: another one does its work."""

from collections.abc import Callable

from tests.api.conftest import NewCaller
from tests.chaos.breaking import (
    all_ended,
    assert_all_said,
    assert_paid,
    pods,
    submitted,
    wait_until_running,
)
from tests.chaos.database import LEASE_S, watching
from tests.chaos.promises import p95
from tests.system import System


def test_its_job_is_rescued(
    system: System, newcomer: NewCaller, record_property: Callable[[str, object], None]
) -> None:
    dora = newcomer()
    jobs = submitted(dora, 3)
    wait_until_running(dora, jobs)
    with watching(system.data) as watcher:
        with watcher.taking(None):
            for pod in pods(system):
                pod.suspend()
        ended = all_ended(dora, jobs, 100)
    assert_all_said(ended)
    assert {job["attempt"] for job in ended} == {2}
    assert_paid(system, dora, 3)
    back = [lost.back_s for lost in watcher.lost.values() if lost.back_s is not None]
    assert p95(back) <= LEASE_S + 10
    record_property("reached", f"frozen: {len(back)} jobs again after p95 {p95(back):.1f} s")
