"""Claiming: each job once, the fairest first, and every later write fenced by the attempt."""

import pytest
from django.db.models.functions import Now

from billing import ledger
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.jobs import lease
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.models import Job
from modelpilot.jobs.rescue import rescue
from tests.cast import PRICE, assert_books_prove, at_once, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_claim_starts_the_next_attempt(alice: User) -> None:
    job = submitted(alice)
    pod = pod_id()

    (claim,) = lease.claim("echo", pod, 5)

    assert (claim.id, claim.attempt, claim.request) == (job.id, 1, job.request)
    assert 590 < claim.remaining_s <= 600
    job.refresh_from_db()
    assert (job.state, job.attempt, job.pod) == ("running", 1, pod)
    assert lease.claim("echo", pod, 5) == []


def test_it_takes_only_its_own_model(alice: User) -> None:
    submitted(alice, model="another")

    assert lease.claim("echo", pod_id(), 5) == []


def test_no_job_is_claimed_twice(alice: User) -> None:
    jobs = {submitted(alice).id for _ in range(60)}

    claims = at_once(80, lambda _: lease.claim("echo", pod_id(), 1))

    claimed = [claim.id for each in claims if isinstance(each, list) for claim in each]
    assert len(claimed) == 60
    assert set(claimed) == jobs


def test_nobody_waits_behind_anothers_hundred(alice: User, bob: User) -> None:
    of_alice = [submitted(alice) for _ in range(100)]
    lease.claim("echo", pod_id(), 10)
    of_bob = submitted(bob)

    claimed = [lease.claim("echo", pod_id(), 1)[0].id for _ in range(3)]

    assert of_bob.id in claimed
    assert set(claimed) <= {of_bob.id, *(job.id for job in of_alice)}


def test_an_account_is_served_in_its_own_order(alice: User) -> None:
    jobs = [submitted(alice).id for _ in range(20)]

    assert [lease.claim("echo", pod_id(), 1)[0].id for _ in range(20)] == jobs


def test_finishing_settles_the_hold(alice: User) -> None:
    submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)

    assert lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE, result={"text": "hello"})

    job = Job.objects.get()
    assert (job.state, job.cost, job.result) == ("succeeded", PRICE, {"text": "hello"})
    balance = ledger.balance(alice.id)
    assert (balance.balance, balance.held) == (micros("10") - PRICE, 0)
    assert_books_prove()


def test_failing_costs_nothing(alice: User) -> None:
    submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)

    lease.finish(claim, Job.State.FAILED, charge=0, error={"code": "x", "message": "y"})

    assert ledger.balance(alice.id).available == micros("10")
    assert_books_prove()


def test_nothing_is_charged_beyond_the_hold(alice: User) -> None:
    submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)

    lease.finish(claim, Job.State.SUCCEEDED, charge=5 * PRICE)

    assert Job.objects.get().cost == PRICE
    assert ledger.balance(alice.id).balance == micros("10") - PRICE
    assert_books_prove()


def test_finishing_twice_charges_once(alice: User) -> None:
    submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)

    # The second is what a pod does whose first answer was lost on the way.
    assert lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE)
    assert lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE)

    assert ledger.balance(alice.id).balance == micros("10") - PRICE
    assert_books_prove()


def test_a_zombie_changes_nothing(alice: User) -> None:
    submitted(alice)
    (zombie,) = lease.claim("echo", pod_id(), 1)
    Job.objects.update(lease_until=Now())
    rescue()
    (current,) = lease.claim("echo", pod_id(), 1)

    assert lease.renew({zombie.id: zombie.attempt}) == {}
    assert not lease.finish(zombie, Job.State.SUCCEEDED, charge=PRICE, result={"by": "zombie"})
    assert lease.finish(current, Job.State.SUCCEEDED, charge=PRICE, result={"by": "current"})
    assert not lease.finish(zombie, Job.State.FAILED, charge=0)
    # Nor is it told that this success was its own.
    assert not lease.finish(zombie, Job.State.SUCCEEDED, charge=PRICE, result={"by": "zombie"})

    job = Job.objects.get()
    assert (job.attempt, job.result) == (2, {"by": "current"})
    assert_books_prove()


def test_renewing_tells_of_a_cancel(alice: User) -> None:
    first, second = submitted(alice), submitted(alice)
    lease.claim("echo", pod_id(), 2)
    cancel(second.id)

    assert lease.renew({first.id: 1, second.id: 1}) == {first.id: False, second.id: True}


def test_cancelling_a_waiting_job_ends_it_for_nothing(alice: User) -> None:
    job = submitted(alice)

    cancel(job.id)
    cancel(job.id)

    job.refresh_from_db()
    assert (job.state, job.cost) == ("cancelled", 0)
    assert ledger.balance(alice.id).available == micros("10")
    assert lease.claim("echo", pod_id(), 1) == []
    assert_books_prove()


def test_cancelling_a_finished_job_changes_nothing(alice: User) -> None:
    job = submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE)

    cancel(job.id)

    job.refresh_from_db()
    assert (job.state, job.cost, job.cancel_requested_at) == ("succeeded", PRICE, None)
