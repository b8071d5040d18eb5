"""A pod that was thought dead comes back: it takes nothing more, and hurts nothing of others."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from inference import catalog, engines
from inference.types import Device
from inference.weights import Weights
from modelpilot.accounts.models import User
from modelpilot.fleet.models import Deployment, Node
from modelpilot.fleet.models import Pod as PodRow
from modelpilot.fleet.pod import Pod
from modelpilot.fleet.run import Run
from modelpilot.jobs import lease
from tests.cast import submitted
from tests.system import CATALOG

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pod(books: None) -> Iterator[Pod]:
    """One that serves, without its threads."""
    card = catalog.load([CATALOG]).cards["echo"]
    deployment = Deployment.objects.create(model="echo")
    node = Node.objects.create(name="here", devices=[])
    row = PodRow.objects.create(deployment=deployment, node=node, memory_mb=50)
    pod = Pod(row.id, card)
    pod.engine = engines.load(card, Weights({}), Device("cpu"))
    pod.slots = ThreadPoolExecutor(1)
    yield pod
    pod.slots.shutdown()


@pytest.fixture
def told() -> Iterator[list[int]]:
    """The signals that it sent to itself."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


def test_whose_row_is_gone_claims_nothing(pod: Pod, told: list[int], alice: User) -> None:
    job = submitted(alice)
    PodRow.objects.all().delete()
    pod.heartbeat()
    pod.drain_safely()
    job.refresh_from_db()
    assert (job.state, job.attempt) == ("queued", 0)
    assert told == [signal.SIGTERM]


def test_a_run_that_was_lost_does_not_take_the_jobs_next_run_with_it(pod: Pod, alice: User) -> None:
    submitted(alice)
    (claim,) = lease.claim("echo", pod.id, 1)
    lost, again = Run(claim, pod.publisher), Run(replace(claim, attempt=2), pod.publisher)
    # Claimed again by this same pod, before the old one has noticed that it should stop.
    pod.runs[claim.id] = again
    pod.draining = True
    lost.stop("lost")
    pod.work(lost)
    pod.stop_all("draining")
    assert again.stopped == "draining"
    pod.work(again)
    assert pod.runs == {}
