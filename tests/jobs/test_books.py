"""The proof of the books finds every kind of corruption, and nothing in sound ones."""

import uuid

import pytest
from django.db import DatabaseError, connection, transaction

from billing.models import Account, Transfer
from modelpilot.accounts.models import User
from modelpilot.jobs import housekeeping, lease
from modelpilot.jobs.models import Job, Output
from tests.cast import PRICE, assert_books_prove, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def busy_books(alice: User) -> None:
    """A succeeded, a failed, a running and a queued job."""
    for _ in range(4):
        submitted(alice)
    done, failed, _ = lease.claim("echo", pod_id(), 3)
    lease.finish(done, Job.State.SUCCEEDED, charge=PRICE)
    lease.finish(failed, Job.State.FAILED, charge=0)
    assert_books_prove()


CORRUPTIONS = {
    "credit from nowhere": "UPDATE billing_account SET credits_posted = credits_posted + 1",
    "a hold forgotten": "UPDATE billing_account SET debits_pending = 0 WHERE code = 'user'",
    "a live job called failed": "UPDATE jobs_job SET state = 'failed' WHERE state = 'running'",
    "a settled job called queued": "UPDATE jobs_job SET state = 'queued' WHERE state = 'failed'",
    "a wrong cost": "UPDATE jobs_job SET cost = cost + 1 WHERE state = 'succeeded'",
    "usage that nobody paid": "UPDATE jobs_usage SET cost = cost + 1",
    "usage that was forgotten": "DELETE FROM jobs_usage",
    "a job without its hold": "UPDATE jobs_job SET hold_id = NULL WHERE state = 'queued'",
}


@pytest.mark.parametrize("statement", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_planted_corruption_is_found(busy_books: None, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)

    assert housekeeping.problems() != []


def test_a_deleted_transfer_is_found(busy_books: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_transfer DISABLE TRIGGER append_only")
        cursor.execute("DELETE FROM billing_transfer WHERE kind = 'post'")
        cursor.execute("ALTER TABLE billing_transfer ENABLE TRIGGER append_only")

    assert any("differs from its transfers" in problem for problem in housekeeping.problems())


def test_an_output_of_another_attempt_is_found(busy_books: None) -> None:
    job = Job.objects.get(state="succeeded")
    Output.objects.create(
        id=uuid.uuid4(),
        job=job,
        name="a.wav",
        media_type="audio/wav",
        bytes=1,
        path=f"{job.id}/2/a.wav",
    )

    assert any("output" in problem for problem in housekeeping.problems())


@pytest.mark.parametrize(
    "statement", ["UPDATE billing_transfer SET amount = 1", "DELETE FROM billing_transfer"]
)
def test_transfers_only_ever_append(busy_books: None, statement: str) -> None:
    with (
        pytest.raises(DatabaseError, match="never changed or deleted"),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_the_database_itself_forbids_overspending(alice: User) -> None:
    with pytest.raises(DatabaseError, match="user_cannot_overspend"), transaction.atomic():
        Account.objects.filter(owner=alice).update(debits_pending=10**12)


def test_nothing_is_booked_twice(alice: User) -> None:
    transfer = Transfer.objects.get(code="grant", ref=f"test:{alice.email}")
    with pytest.raises(DatabaseError, match="booked_once"), transaction.atomic():
        transfer.pk = None
        transfer.save(force_insert=True)
