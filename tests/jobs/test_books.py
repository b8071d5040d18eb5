"""The proof of the books finds every kind of corruption, and nothing in sound ones."""

import uuid

import pytest
from django.db import DatabaseError, connection, transaction

from billing import ledger
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


# What somebody does to the database by hand, and what the proof calls it.
CORRUPTIONS = {
    "credit from nowhere": (
        "UPDATE billing_account SET credits_posted = credits_posted + 1",
        "differs from its transfers",
    ),
    "a balance spent by nobody": (
        "UPDATE billing_account SET debits_posted = debits_posted + 1 WHERE credits_posted > 0",
        "differs from its transfers",
    ),
    "a hold forgotten": (
        "UPDATE billing_account SET debits_pending = 0 WHERE code = 'user'",
        "differs from its transfers",
    ),
    "a live job called failed": (
        "UPDATE jobs_job SET state = 'failed' WHERE state = 'running'",
        "is failed but its hold is open",
    ),
    "a settled job called queued": (
        "UPDATE jobs_job SET state = 'queued' WHERE state = 'failed'",
        "is queued but its hold is resolved",
    ),
    "a wrong cost": (
        "UPDATE jobs_job SET cost = cost + 1 WHERE state = 'succeeded'",
        "says it cost 10001 but the ledger says 10000",
    ),
    "a wrong price": (
        "UPDATE jobs_job SET price = price + 1 WHERE state = 'queued'",
        "costs 10001 at most, but transfer",
    ),
    "usage that nobody paid": (
        "UPDATE jobs_usage SET cost = cost + 1",
        "sums to 10001 but the ledger charged 10000",
    ),
    "usage of another day": (
        "UPDATE jobs_usage SET day = day - 1",
        "but 0 jobs cost 0",
    ),
    "usage of other requests": (
        "UPDATE jobs_usage SET requests = 1",
        "says that 1 requests to echo cost 10000, but 2 jobs cost 10000",
    ),
    "usage that was forgotten": (
        "DELETE FROM jobs_usage",
        "says that 0 requests to echo cost 0, but 2 jobs cost 10000",
    ),
    "a job without its hold": (
        "UPDATE jobs_job SET hold_id = NULL WHERE state = 'queued'",
        "at most, but holds nothing",
    ),
    "the hold of another job": (
        (
            "UPDATE billing_transfer SET ref = 'another' WHERE id = "
            "(SELECT hold_id FROM jobs_job WHERE state = 'queued')"
        ),
        "for another",
    ),
    "a larger hold": (
        (
            "UPDATE billing_transfer SET amount = 2 * amount WHERE id = "
            "(SELECT hold_id FROM jobs_job WHERE state = 'queued')"
        ),
        "differs from its transfers",
    ),
    "a larger hold, and the account's counter with it": (
        (
            "WITH larger AS (UPDATE billing_transfer SET amount = 2 * amount WHERE id = "
            "(SELECT hold_id FROM jobs_job WHERE state = 'queued') RETURNING debit_id, amount) "
            "UPDATE billing_account account "
            "SET debits_pending = debits_pending + larger.amount / 2 "
            "FROM larger WHERE account.id = larger.debit_id"
        ),
        "holds 20000 of account",
    ),
    "a second hold, and the account's counter with it": (
        (
            "WITH second AS (INSERT INTO billing_transfer (debit_id, credit_id, amount, code, ref, "
            "kind) SELECT debit_id, credit_id, amount, code, 'again', kind FROM billing_transfer "
            "WHERE id = (SELECT hold_id FROM jobs_job WHERE state = 'queued') "
            "RETURNING debit_id, amount) "
            "UPDATE billing_account account SET debits_pending = debits_pending + second.amount "
            "FROM second WHERE account.id = second.debit_id"
        ),
        "belongs to no job",
    ),
    "a smaller charge": (
        "UPDATE billing_transfer SET amount = 1 WHERE kind = 'post'",
        "says it cost 10000 but the ledger says 1",
    ),
    "a larger charge": (
        "UPDATE billing_transfer SET amount = amount + 1 WHERE kind = 'post'",
        "does not match the hold it resolves",
    ),
    "a hold given back in part": (
        "UPDATE billing_transfer SET amount = 1 WHERE kind = 'void'",
        "does not match the hold it resolves",
    ),
    "somebody else's hold": (
        (
            "UPDATE billing_transfer SET debit_id = (SELECT account.id "
            "FROM billing_account account JOIN accounts_user ON accounts_user.id = owner_id "
            "WHERE email LIKE 'charlie%') "
            "WHERE code = 'hold'"
        ),
        "differs from its transfers",
    ),
}


@pytest.mark.parametrize(("statement", "named"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_planted_corruption_is_named(
    busy_books: None, charlie: User, statement: str, named: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_transfer DISABLE TRIGGER append_only")
        cursor.execute(statement)
        assert cursor.rowcount > 0
        cursor.execute("ALTER TABLE billing_transfer ENABLE TRIGGER append_only")

    problems = housekeeping.problems()
    assert any(named in problem for problem in problems), problems


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


def test_a_hold_is_resolved_once(alice: User) -> None:
    submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)
    assert lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE)
    charge = Transfer.objects.get(code="charge")
    with pytest.raises(DatabaseError, match="pending_id"), transaction.atomic():
        charge.pk, charge.ref = None, "again"
        charge.save(force_insert=True)


def test_an_account_has_one_bonus(alice: User) -> None:
    with pytest.raises(DatabaseError, match="one_bonus_per_account"), transaction.atomic():
        for purchase in ("one", "another"):
            ledger.credit(alice.id, 1, Account.Code.BONUS_EXPENSE, code="bonus", ref=purchase)
