"""What is measured of runs and loads, and what is foretold from it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from modelpilot.fleet import deployments, eta, facts, overview
from modelpilot.fleet.eta import Outlook
from modelpilot.fleet.machine import Device
from modelpilot.fleet.models import Deployment, Node, Pod
from tests.cast import member, submitted

pytestmark = pytest.mark.django_db(transaction=True)
MODEL = "piper-joe"


def deployed(**fields: object) -> Deployment:
    return Deployment.objects.create(model=MODEL, **fields)


def node(memory_mb: int = 1000) -> Node:
    cpu = Device("cpu", "cpu", "CPU", 2000, memory_mb, 2000)
    return Node.objects.create(name="here", devices=[cpu.as_json()])


def test_runs_are_averaged_and_only_the_latest_hundred_kept(books: None) -> None:
    deployment = deployed()
    deployments.record_runs(deployment.id, [2.0, 4.0])
    deployment.refresh_from_db()
    assert (deployment.run_seconds, deployment.recent_runs) == (3.0, [2.0, 4.0])
    for number in range(60):
        deployments.record_runs(deployment.id, [float(number), 1.0])
    deployment.refresh_from_db()
    assert len(deployment.recent_runs) == 100
    assert deployment.recent_runs[:3] == [59.0, 1.0, 58.0]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [([], (None, None)), ([3.0], (3.0, 3.0)), ([float(n) for n in range(11)], (5.0, 9.0))],
)
def test_median_and_90th_percentile(
    runs: list[float], expected: tuple[float | None, float | None]
) -> None:
    assert overview.spread(runs) == expected


def test_an_outlook_counts_the_slots_that_are_free() -> None:
    ahead = Outlook(ready_s=3, slots=2, busy=1, run_s=4)
    # The next has a slot, the one after it waits for half a run, as two slots share the queue.
    assert [ahead.seconds(place) for place in (1, 2, 3)] == [7, 9, 11]


def foretold(deployment: Deployment) -> float:
    ahead = eta.outlook(deployment.id, facts.gather())
    assert ahead is not None
    return ahead.seconds(1)


def test_a_cold_start_is_room_and_load_and_run(books: None) -> None:
    node(memory_mb=1200)
    deployment = deployed(load_seconds=5.0, run_seconds=2.0)
    assert foretold(deployment) == pytest.approx(5 + 2 + eta.LOOKING_S)
    other = Deployment.objects.create(model="smollm2-135m")
    now = timezone.now()
    idle = Pod.objects.create(
        deployment=other, node_id="here", memory_mb=1150, phase="ready", ready_at=now, slots=32
    )
    assert foretold(deployment) == pytest.approx(5 + 2 + eta.LOOKING_S + eta.GOING_S)
    idle.delete()
    pod = Pod.objects.create(deployment=deployment, node_id="here", memory_mb=300)
    Pod.objects.filter(id=pod.id).update(created_at=now - timedelta(seconds=3), phase="loading")
    assert foretold(deployment) == pytest.approx(2 + 2, abs=0.5)
    Pod.objects.filter(id=pod.id).update(phase="downloading", progress=0.25)
    # A quarter took three seconds.
    assert foretold(deployment) == pytest.approx(9 + 5 + 2, abs=1)
    Pod.objects.filter(id=pod.id).update(phase="ready", ready_at=now, slots=1)
    assert foretold(deployment) == 2


def test_who_has_just_made_way_waits_from_then_on(books: None) -> None:
    deployment = deployed()
    assert facts.queues_now() == {}
    job = submitted(member("alice", "10"), model=MODEL)
    type(job).objects.filter(id=job.id).update(created_at=timezone.now() - timedelta(seconds=90))
    queue = facts.queues_now()[MODEL]
    assert queue.waiting == 1
    assert facts.waited_s(deployment, queue) == pytest.approx(90, abs=5)
    deployment.left_at = timezone.now() - timedelta(seconds=10)
    assert facts.waited_s(deployment, queue) == pytest.approx(10, abs=5)


def test_what_other_programs_hold_of_a_gpu_is_theirs(books: None) -> None:
    gpu = Device("GPU-1", "cuda", "GPU", total_mb=24_000, memory_mb=23_500, free_mb=13_000)
    Node.objects.create(name="here", devices=[gpu.as_json()])
    # 11,000 MB are in use: 500 are reckoned to the driver.
    assert facts.budget("here", gpu, []) == 13_000
    pod = Pod(deployment=deployed(), node_id="here", devices=["GPU-1"], memory_mb=8000)
    assert facts.budget("here", gpu, [pod]) == 21_000
    pod.memory_mb = 12_000  # still loading
    assert facts.budget("here", gpu, [pod]) == 23_500
