"""A job whose client would wait only so long, before a pod has taken it."""

from datetime import timedelta

import pytest
from django.db.models import F

from billing import ledger
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.jobs import lease
from modelpilot.jobs.models import Job
from modelpilot.jobs.rescue import rescue
from tests.cast import assert_books_prove, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


def passes(seconds: float) -> None:
    Job.objects.update(cancel_at=F("cancel_at") - timedelta(seconds=seconds))


def test_a_waiting_one_is_cancelled_for_nothing(alice: User) -> None:
    job, other = submitted(alice, cancel_after_s=90), submitted(alice)
    passes(80)
    rescue()
    job.refresh_from_db()
    assert job.state == "queued"

    passes(11)
    rescue()

    job.refresh_from_db()
    other.refresh_from_db()
    assert (job.state, job.cost, other.state) == ("cancelled", 0, "queued")
    assert job.error is not None
    assert job.error["code"] == "cancelled"
    assert "Cancel-After" in job.error["message"]
    assert ledger.balance(alice.id).balance == micros("10")
    assert_books_prove()


def test_one_of_a_dead_pod_does_not_run_again(alice: User) -> None:
    job = submitted(alice, cancel_after_s=90)
    lease.claim("echo", pod_id(), 1)
    passes(100)
    Job.objects.update(lease_until=F("created_at"))

    rescue()

    job.refresh_from_db()
    assert (job.state, job.attempt, job.cost) == ("cancelled", 1, 0)
    assert_books_prove()


def test_the_pod_is_told_how_long_it_has(alice: User) -> None:
    submitted(alice, cancel_after_s=90)
    submitted(alice)
    passes(30)

    limited, patient = lease.claim("echo", pod_id(), 2)

    assert limited.cancel_in_s is not None
    assert 55 < limited.cancel_in_s <= 60
    assert patient.cancel_in_s is None
