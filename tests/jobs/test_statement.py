"""A month of an account: opening + moves - charges = closing, and each begins where one ended."""

from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing import ledger
from billing.models import Account
from modelpilot.accounts.models import User
from modelpilot.jobs import lease, statement
from modelpilot.jobs.models import Job, Usage
from tests.cast import PRICE, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


def spend(owner: User, amount: int) -> None:
    submitted(owner)
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=amount)


def months() -> tuple[date, date, date]:
    """The one before the last, the last and this one, by their first days."""
    this = timezone.now().date().replace(day=1)
    last = (this - timedelta(days=1)).replace(day=1)
    return (last - timedelta(days=1)).replace(day=1), last, this


def move_everything_to(day: date) -> None:
    """As if all that has no other day had happened on that one."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE billing_transfer DISABLE TRIGGER append_only")
        cursor.execute(
            "UPDATE billing_transfer SET created_at = %s WHERE created_at > now() - interval '1 h'",
            [day],
        )
        cursor.execute("ALTER TABLE billing_transfer ENABLE TRIGGER append_only")
    Usage.objects.filter(day=timezone.now().date()).update(day=day)


def test_each_month_begins_where_the_last_one_ended(charlie: User) -> None:
    older, last, this = months()
    ledger.grant(charlie.id, 100 * PRICE, ref="older", reason="older")
    spend(charlie, PRICE)
    move_everything_to(older)
    spend(charlie, PRICE // 2)
    move_everything_to(last)
    ledger.grant(charlie.id, 7 * PRICE, ref="this", reason="this")
    ledger.take(charlie.id, 2 * PRICE, Account.Code.DISPUTE_LOSS, code="dispute", ref="x")
    spend(charlie, PRICE)
    spend(charlie, PRICE // 4)
    submitted(charlie)  # holds, and has cost nothing yet

    first, second, third = (statement.of_month(charlie.id, month) for month in (older, last, this))

    assert (first.opening, first.moved, first.charged) == (0, 100 * PRICE, PRICE)
    assert (second.opening, second.moved, second.charged) == (99 * PRICE, 0, PRICE // 2)
    assert third.opening == second.closing
    assert [move.amount for move in third.moves] == [7 * PRICE, -2 * PRICE]
    assert [(each.model, each.requests, each.cost) for each in third.charges] == [
        ("echo", 2, PRICE + PRICE // 4)
    ]
    assert third.closing == ledger.balance(charlie.id).balance
    assert (first.complete, third.complete) == (True, False)
    assert first.last == last - timedelta(days=1)
    for month in (first, second, third):
        lines = statement.rows(month)
        assert sum(line["amount"] for line in lines[:-1]) == lines[-1]["amount"] == month.closing


def test_neither_jobs_nor_charges_are_read(alice: User) -> None:
    spend(alice, PRICE)
    with CaptureQueriesContext(connection) as queries:
        statement.of_month(alice.id, months()[-1])
    read = " ".join(query["sql"] for query in queries.captured_queries)
    assert "jobs_job" not in read
    assert read.count("'single'") == read.count('FROM "billing_transfer"') == 2


@pytest.mark.parametrize("text", ["2026", "2026-13", "2026-1", "1999-01", "2999-01", "x", ""])
def test_what_is_no_month_has_no_statement(text: str) -> None:
    assert statement.first_of(text) is None


def test_a_link_is_for_a_while_and_not_to_be_made_up(alice: User) -> None:
    month = months()[-1]
    link = statement.link(alice.id, month)
    assert statement.linked(link) == (alice.id, month)
    assert statement.linked(link[:-1] + ("x" if link[-1] != "x" else "y")) is None
    assert statement.linked("") is None
