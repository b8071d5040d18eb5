"""Jobs of dead pods run again or end; no job outlives its deadline."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from billing import ledger
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.jobs import lease
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.models import Job
from modelpilot.jobs.rescue import fail_waiting, release_pod, rescue, rescue_running
from tests.cast import assert_books_prove, at_once, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


def claimed_and_abandoned(job: Job) -> None:
    lease.claim("echo", pod_id(), 1)
    Job.objects.filter(id=job.id).update(lease_until=Now())


def test_a_job_with_a_live_lease_is_left_alone(alice: User) -> None:
    job = submitted(alice)
    lease.claim("echo", pod_id(), 1)

    rescue()

    job.refresh_from_db()
    assert (job.state, job.attempt) == ("running", 1)


def test_an_abandoned_job_waits_again(alice: User) -> None:
    job = submitted(alice)
    claimed_and_abandoned(job)

    rescue()

    job.refresh_from_db()
    assert (job.state, job.attempt, job.lease_until) == ("queued", 1, None)
    assert_books_prove()


def test_after_three_attempts_it_fails_for_nothing(alice: User) -> None:
    job = submitted(alice)
    for _ in range(3):
        claimed_and_abandoned(job)
        rescue()

    job.refresh_from_db()
    assert (job.state, job.attempt, job.cost) == ("failed", 3, 0)
    assert job.error is not None
    assert job.error["code"] == "pod_died"
    assert ledger.balance(alice.id).available == micros("10")
    assert_books_prove()


def killed(jobs: int, slots: int) -> list[Job]:
    """What a pod with so many slots had when it died, and that waits again now."""
    pod = pod_id()
    claims = lease.claim("echo", pod, jobs, slots)
    release_pod(pod)
    return list(Job.objects.filter(id__in=[claim.id for claim in claims]))


def test_what_may_have_killed_pods_runs_in_ever_smaller_company(alice: User) -> None:
    for _ in range(16):
        submitted(alice)
    assert {job.attempt for job in killed(16, slots=16)} == {1}

    # Four of them at a time, however often the pod asks, beside what is new.
    new = submitted(alice)
    pod = pod_id()
    first = lease.claim("echo", pod, 16, 16)
    assert sorted(claim.attempt for claim in first) == [1, 2, 2, 2, 2]
    assert new.id in {claim.id for claim in first}
    assert lease.claim("echo", pod, 11, 16) == []
    done = next(claim for claim in first if claim.attempt == 2)
    assert lease.finish(done, Job.State.SUCCEEDED, charge=0)
    assert [claim.attempt for claim in lease.claim("echo", pod, 12, 16)] == [2]

    # Who dies again runs alone of its kind.
    release_pod(pod)
    pod = pod_id()
    assert sorted(claim.attempt for claim in lease.claim("echo", pod, 16, 16)) == [2] * 4 + [3]
    assert_books_prove()


def test_a_killer_is_found_in_three_attempts_and_the_others_finish(alice: User) -> None:
    for _ in range(33):
        submitted(alice)
    [killer, *others] = Job.objects.order_by("id")
    while Job.objects.exclude(state__in=["succeeded", "failed"]).exists():
        pod = pod_id()
        claims = lease.claim("echo", pod, 32, 32)
        if killer.id in {claim.id for claim in claims}:
            release_pod(pod)
        else:
            for claim in claims:
                assert lease.finish(claim, Job.State.SUCCEEDED, charge=1)

    killer.refresh_from_db()
    assert (killer.state, killer.attempt, killer.cost) == ("failed", 3, 0)
    states = Job.objects.exclude(id=killer.id).values_list("state", flat=True)
    assert list(states) == ["succeeded"] * len(others)
    # 31 lost a pod at its first death; at the second and third, those beside which it was tried
    # again, and what was new.
    attempts = Job.objects.exclude(id=killer.id).values_list("attempt", flat=True)
    assert sum(attempts) - len(others) <= 31 + 5 + 5
    assert_books_prove()


def test_a_stream_is_never_started_again(alice: User) -> None:
    job = submitted(alice, stream=True)
    claimed_and_abandoned(job)

    rescue()

    job.refresh_from_db()
    assert job.state == "failed"
    assert_books_prove()


def test_a_cancelled_job_of_a_dead_pod_is_cancelled(alice: User) -> None:
    job = submitted(alice)
    lease.claim("echo", pod_id(), 1)
    cancel(job.id)
    Job.objects.update(lease_until=Now())

    rescue()

    job.refresh_from_db()
    assert (job.state, job.cost) == ("cancelled", 0)
    assert_books_prove()


def test_a_waiting_job_fails_at_its_deadline(alice: User) -> None:
    job = submitted(alice)
    Job.objects.update(deadline_at=timezone.now() - timedelta(seconds=1))

    rescue()

    job.refresh_from_db()
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "deadline_exceeded"
    assert ledger.balance(alice.id).available == micros("10")
    assert_books_prove()


def test_many_rescuers_do_it_once(alice: User) -> None:
    for _ in range(30):
        submitted(alice)
    lease.claim("echo", pod_id(), 30)
    Job.objects.update(lease_until=Now())

    at_once(8, lambda _: rescue())

    assert Job.objects.filter(state="queued", attempt=1).count() == 30
    assert_books_prove()


@pytest.mark.parametrize("stream", [False, True])
def test_a_rescuer_that_looked_a_moment_ago_changes_nothing(alice: User, stream: bool) -> None:
    """The lease was renewed since; or the job has a new attempt, whose lease is over as well."""
    submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)
    Job.objects.update(lease_until=Now(), stream=stream)
    seen = Job.objects.get()

    lease.renew({claim.id: claim.attempt})
    rescue_running(seen)
    assert Job.objects.get().state == "running"

    Job.objects.update(lease_until=Now(), attempt=2)
    rescue_running(seen)
    assert (Job.objects.get().state, Job.objects.get().attempt) == ("running", 2)
    assert_books_prove()


def test_jobs_of_a_pod_known_to_be_dead_wait_at_once(alice: User) -> None:
    mine, other = submitted(alice), submitted(alice)
    dead, alive = pod_id(), pod_id()
    lease.claim("echo", dead, 1)
    lease.claim("echo", alive, 1)

    release_pod(dead)

    mine.refresh_from_db()
    other.refresh_from_db()
    assert (mine.state, other.state) == ("queued", "running")


def test_waiting_jobs_of_a_model_that_cannot_load_fail(alice: User) -> None:
    job, other = submitted(alice), submitted(alice, model="another")

    fail_waiting("echo", {"code": "model_not_loadable", "message": "No.", "status": 503})

    job.refresh_from_db()
    other.refresh_from_db()
    assert (job.state, other.state) == ("failed", "queued")
    assert_books_prove()
