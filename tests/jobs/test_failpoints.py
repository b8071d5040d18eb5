"""Processes die (SIGKILL) at every boundary of what moves a job: none is lost, or paid twice."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db.models.functions import Now

from billing import ledger
from billing.models import Transfer
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.fleet.run import Run
from modelpilot.jobs import housekeeping, lease, storage, valkey
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.ids import new_id
from modelpilot.jobs.models import Job
from modelpilot.jobs.stream import Publisher
from modelpilot.jobs.submit import submit
from tests.cast import PRICE, assert_books_prove, order, pod_id, submitted
from tests.deeds import SAYS, Writer
from tests.mortal import Mortals, mortals

__all__ = ["mortals"]

pytestmark = pytest.mark.django_db(transaction=True)

Record = Callable[[str, object], None]
LIVE = ("queued", "running")


def lives_on() -> None:
    """The leases of the dead run out, housekeeping looks, and another pod does what waits."""
    Job.objects.filter(state="running").update(lease_until=Now())
    housekeeping.rescue()
    publisher = Publisher(valkey.client())
    for claim in lease.claim("echo", pod_id(), 10):
        Run(claim, publisher).work(Writer())
    assert not Job.objects.filter(state__in=LIVE).exists()
    assert_books_prove()


def charges() -> int:
    return Transfer.objects.filter(code="charge").count()


def assert_done_once(job: Job, before: int) -> None:
    """It has succeeded, with what it made in its hands, and was charged once."""
    job.refresh_from_db()
    assert (job.state, job.cost, charges() - before) == ("succeeded", PRICE, 1)
    assert job.result is not None
    assert job.result["choices"][0]["text"] == SAYS
    [output] = job.outputs.all()
    assert output.path.startswith(f"{job.id}/{job.attempt}/")
    assert storage.read(output) == SAYS.encode()


def reached(deed: str, deaths: list[str], record: Record) -> None:
    """Boundaries of every kind were there, or this test proves nothing."""
    kinds = Counter(deaths)
    assert {"before PostgreSQL", "PostgreSQL was asked", "PostgreSQL has answered"} <= set(kinds)
    record("reached", f"{deed}: {len(deaths)} deaths")


def test_submitting(alice: User, mortals: Mortals, record_property: Record) -> None:
    keys: list[str] = []

    def prepare() -> dict[str, Any]:
        keys.append(str(new_id()))
        return {"owner": alice.id, "key": keys[-1]}

    deaths, recorded = [], 0
    for death in mortals.deaths("submit", prepare):
        deaths.append(death)
        assert_books_prove()
        recorded += Job.objects.filter(idempotency_key=keys[-1]).count()
        # Who got no answer asks again, as we tell them.
        again = submit(order(alice, idempotency_key=keys[-1], body_digest=b"same"))
        job = Job.objects.get(idempotency_key=keys[-1])
        assert again == job.id
        before = charges()
        lives_on()
        assert_done_once(job, before)
    lives_on()

    # Some had committed when they died, before the bell or with it, and some had not.
    assert 0 < recorded < len(deaths)
    assert "before Valkey" in deaths
    reached("submit", deaths, record_property)
    balance = ledger.balance(alice.id)
    assert (balance.balance, balance.held) == (micros("10") - (len(deaths) + 1) * PRICE, 0)


def test_claiming(alice: User, mortals: Mortals, record_property: Record) -> None:
    jobs: list[Job] = []

    def prepare() -> dict[str, Any]:
        jobs.append(submitted(alice))
        return {"pod": str(pod_id())}

    deaths, claimed = [], 0
    for death in mortals.deaths("claim", prepare):
        deaths.append(death)
        assert_books_prove()
        jobs[-1].refresh_from_db()
        claimed += jobs[-1].attempt
        before = charges()
        lives_on()
        assert_done_once(jobs[-1], before)
    lives_on()

    assert 0 < claimed < len(deaths)
    reached("claim", deaths, record_property)


def test_finishing(alice: User, mortals: Mortals, record_property: Record) -> None:
    jobs: list[Job] = []

    def prepare() -> dict[str, Any]:
        jobs.append(submitted(alice))
        return {"pod": str(pod_id())}

    deaths, ended, left = [], 0, 0
    before = charges()
    for death in mortals.deaths("finish", prepare):
        deaths.append(death)
        assert_books_prove()
        job = jobs[-1]
        job.refresh_from_db()
        assert job.state in ("running", "succeeded")
        ended += job.terminal
        # It may have written its outputs, and then not been able to say so.
        left += not job.terminal and default_storage.exists(f"{job.id}/1/hello.txt")
        lives_on()
        assert_done_once(job, before)
        before = charges()
    lives_on()

    assert 0 < ended < len(deaths)
    assert left > 0
    assert {"after a file has its name", "before Valkey", "after Valkey"} <= set(deaths)
    reached("finish", deaths, record_property)


def test_rescuing(alice: User, mortals: Mortals, record_property: Record) -> None:
    """A rescuer that dies gives a job back once, and ends none twice."""
    jobs: list[Job] = []

    def prepare() -> dict[str, Any]:
        jobs[:] = [submitted(alice), submitted(alice, stream=True)]
        assert len(lease.claim("echo", pod_id(), 2)) == 2
        Job.objects.filter(state="running").update(lease_until=Now())
        return {}

    deaths = []
    for death in mortals.deaths("rescue", prepare):
        deaths.append(death)
        assert_books_prove()
        before = charges()
        lives_on()
        assert_done_once(jobs[0], before)
        jobs[1].refresh_from_db()
        assert (jobs[1].state, jobs[1].attempt, jobs[1].cost) == ("failed", 1, 0)
    lives_on()
    reached("rescue", deaths, record_property)


@pytest.mark.parametrize("running", [False, True])
def test_cancelling(alice: User, mortals: Mortals, record_property: Record, running: bool) -> None:
    jobs: list[Job] = []

    def prepare() -> dict[str, Any]:
        jobs.append(submitted(alice))
        if running:
            lease.claim("echo", pod_id(), 1)
        return {"job": str(jobs[-1].id)}

    deaths = []
    for death in mortals.deaths("cancel", prepare):
        deaths.append(death)
        assert_books_prove()
        cancel(jobs[-1].id)
        lives_on()
        jobs[-1].refresh_from_db()
        assert (jobs[-1].state, jobs[-1].cost) == ("cancelled", 0)
    lives_on()
    reached("cancel", deaths, record_property)
    assert charges() == 0
