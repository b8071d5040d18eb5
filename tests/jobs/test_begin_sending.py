"""A job of which bytes were sent is never repeated; one of which none were, is."""

import pytest
from django.db.models.functions import Now

from modelpilot.accounts.models import User
from modelpilot.jobs import lease
from modelpilot.jobs.models import Job
from modelpilot.jobs.rescue import rescue
from tests.cast import assert_books_prove, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


def test_after_it_has_begun_to_send_it_fails_for_nothing(alice: User) -> None:
    job = submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)
    assert lease.begin_sending(claim)
    Job.objects.filter(id=job.id).update(lease_until=Now())

    rescue()

    job.refresh_from_db()
    assert (job.state, job.attempt, job.cost) == ("failed", 1, 0)
    assert_books_prove()


def test_whose_lease_is_over_sends_nothing(alice: User) -> None:
    job = submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)
    Job.objects.filter(id=job.id).update(lease_until=Now())

    assert not lease.begin_sending(claim)

    rescue()
    job.refresh_from_db()
    assert (job.state, job.stream) == ("queued", False)
    (again,) = lease.claim("echo", pod_id(), 1)
    assert not lease.begin_sending(claim)
    assert lease.begin_sending(again)
