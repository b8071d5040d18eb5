"""The proof of the books names what is wrong with purchases, reversals, debts and freezes."""

import pytest
from django.db import connection, transaction

from billing import codes, ledger, reversals
from billing.models import Transfer
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.jobs import housekeeping
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.submit import submit
from tests.billing.conftest import Buy
from tests.billing.test_reversals import settle, spend
from tests.cast import assert_books_prove, order
from tests.fake_stripe.account import StripeAccount

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def eventful(charlie: User, alice: User, stripe: StripeAccount, bought: Buy) -> None:
    """A bonus taken back, a refund, a dispute that became a debt, a code, a freeze."""
    first, second = bought(charlie.id), bought(charlie.id)
    reversals.refund(first.id, micros("4"))
    spend(charlie, "15")
    dispute = stripe.dispute(second.intent or "")
    stripe.withdraw(dispute["id"])
    settle(second)
    codes.redeem(alice.id, codes.create(micros("5")))
    assert ledger.balance(charlie.id).debt == micros("9")
    assert_books_prove()


def corrupt(statement: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_transfer DISABLE TRIGGER append_only")
        cursor.execute(statement)
        cursor.execute("ALTER TABLE billing_transfer ENABLE TRIGGER append_only")
    return housekeeping.problems()


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("topup", "but 0 was credited"),
        ("bonus", "has a bonus of 5000000, taken back, but 0 was given"),
        ("bonus_taken", "but 5000000 was given and 0 taken back"),
        ("refund", "refund"),
        ("dispute_debt", "was taken"),
        ("dispute", "was taken"),
        ("code", "says 1 uses but the ledger 0"),
        ("grant", "differs from its transfers"),
        ("charge", "says it cost"),
    ],
)
def test_a_deleted_transfer_is_named(eventful: None, code: str, named: str) -> None:
    problems = corrupt(
        f"DELETE FROM billing_transfer WHERE id = "
        f"(SELECT max(id) FROM billing_transfer WHERE code = '{code}')"
    )

    assert any(named in problem for problem in problems), problems
    assert any("differs from its transfers" in problem for problem in problems), problems


# What somebody does to the database by hand, and what the proof calls it.
CORRUPTIONS = {
    "a purchase called unpaid": (
        "UPDATE billing_purchase SET state = 'expired'",
        "is expired, of 10000000, but 10000000 was credited",
    ),
    "a purchase called paid": (
        (
            "INSERT INTO billing_purchase (id, owner_id, amount, state) SELECT gen_random_uuid(), "
            "min(owner_id), 20000, 'paid' FROM billing_purchase"
        ),
        "is paid, of 20000, but 0 was credited",
    ),
    "a purchase of another amount": (
        "UPDATE billing_purchase SET amount = amount + 10000",
        "is paid, of 10010000, but 10000000 was credited",
    ),
    "somebody else's purchase": (
        (
            "UPDATE billing_purchase SET owner_id = (SELECT min(id) FROM "
            "accounts_user WHERE email LIKE 'alice%')"
        ),
        "credits a purchase to somebody else",
    ),
    "a bonus called standing": (
        "UPDATE billing_purchase SET bonus_taken = false",
        "not taken back, but 5000000 was given and 5000000 taken back",
    ),
    "a larger bonus": (
        "UPDATE billing_purchase SET bonus = bonus + 1 WHERE bonus > 0",
        "has a bonus of 5000001",
    ),
    "a refund called undone": (
        "UPDATE billing_reversal SET stage = 2 WHERE kind = 'refund'",
        "is in stage 2, but 4000000 was taken and 0 given back",
    ),
    "a dispute of another amount": (
        "UPDATE billing_reversal SET amount = 1 WHERE kind = 'dispute'",
        "of 1 is in stage 1, but 10000000 was taken",
    ),
    "a reversal forgotten": (
        "DELETE FROM billing_reversal WHERE kind = 'dispute'",
        "reverses nothing that we know",
    ),
    "more refunded than was paid": (
        (
            "WITH made AS (INSERT INTO billing_reversal (id, purchase_id, kind, amount, stage) "
            "SELECT gen_random_uuid(), purchase_id, 'refund', 6010000, 1 FROM billing_reversal "
            "WHERE kind = 'refund' RETURNING id, amount) "
            "INSERT INTO billing_transfer (debit_id, credit_id, amount, code, ref, kind) "
            "SELECT debit_id, credit_id, made.amount, 'refund', made.id::text, 'single' "
            "FROM billing_transfer CROSS JOIN made WHERE code = 'refund'"
        ),
        "was refunded more than was paid",
    ),
    "a freeze not in force": (
        "UPDATE billing_account SET frozen = false",
        "is not frozen, and its freezes say otherwise",
    ),
    "a freeze of nobody": (
        "UPDATE billing_account SET frozen = true",
        "is frozen, and its freezes say otherwise",
    ),
    "a debt forgotten": (
        "UPDATE billing_account SET debits_posted = credits_posted WHERE code = 'user_debt'",
        "differs from its transfers",
    ),
    "a code used without credit": (
        "UPDATE billing_redeemcode SET uses = 0",
        "says 0 uses but the ledger 1",
    ),
}


@pytest.mark.parametrize(("statement", "named"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_planted_corruption_is_named(eventful: None, statement: str, named: str) -> None:
    problems = corrupt(statement)
    assert any(named in problem for problem in problems), problems


def test_every_transfer_is_missed(eventful: None, alice: User) -> None:
    """Whichever one a superuser deletes by hand, past triggers and foreign keys: the proof names
    it, or the accounts that it moved money of."""
    submit(order(alice))
    cancel(submit(order(alice)))
    transfers = Transfer.objects.select_related("debit", "credit").order_by("id")
    assert {transfer.kind for transfer in transfers} == set(Transfer.Kind)
    for transfer in transfers:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("DELETE FROM billing_transfer WHERE id = %s", [transfer.id])
            problems = housekeeping.problems()
            transaction.set_rollback(True)
        owned = [each for each in (transfer.debit, transfer.credit) if each.owner_id is not None]
        named = [f"account {account.id} differs from its transfers" for account in owned]
        if transfer.kind == Transfer.Kind.PENDING and hasattr(transfer, "resolution"):
            named = [f"transfer {transfer.resolution.id} resolves a hold that is gone"]
        assert set(named) <= set(problems), (transfer, problems)
    assert_books_prove()
