"""Admission: money, idempotency and job in one step, whoever else comes at the same instant."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import ledger
from billing.models import Transfer
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.errors import ApiError
from modelpilot.jobs.models import Job
from modelpilot.jobs.submit import submit
from tests.cast import PRICE, assert_books_prove, at_once, order, submitted
from tests.leftovers import eventually

pytestmark = pytest.mark.django_db(transaction=True)

Record = Callable[[str, object], None]


def test_it_holds_the_price(alice: User) -> None:
    job = submitted(alice)

    assert job.state == "queued"
    balance = ledger.balance(alice.id)
    assert (balance.balance, balance.held) == (micros("10"), PRICE)
    assert job.hold is not None
    assert (job.hold.kind, job.hold.amount, job.hold.ref) == ("pending", PRICE, str(job.id))
    assert_books_prove()


def test_it_makes_no_hold_for_what_is_free(charlie: User) -> None:
    job = submitted(charlie, price=0)

    assert job.hold is None
    assert not Transfer.objects.filter(code="hold").exists()
    assert_books_prove()


def test_it_refuses_what_cannot_be_paid(charlie: User) -> None:
    with pytest.raises(ApiError) as refusal:
        submit(order(charlie))

    assert (refusal.value.status, refusal.value.code) == (402, "insufficient_quota")
    assert refusal.value.detail["required"] == 0.01
    assert refusal.value.detail["available"] == 0
    assert refusal.value.detail["topup_url"]
    assert not Job.objects.exists()
    assert_books_prove()


def test_of_200_at_once_with_funds_for_10_exactly_10_are_admitted(
    charlie: User, record_property: Record
) -> None:
    ledger.grant(charlie.id, 10 * PRICE, ref="ten", reason="test")

    outcomes = at_once(200, lambda _: submit(order(charlie)))

    refused = [each for each in outcomes if isinstance(each, ApiError)]
    assert [error.status for error in refused] == [402] * 190
    assert Job.objects.count() == 10
    assert ledger.balance(charlie.id).available == 0
    assert_books_prove()
    record_property("reached", f"{Job.objects.count()} admitted, {len(refused)} refused")


def test_who_waited_for_the_account_sees_what_was_spent_meanwhile(charlie: User) -> None:
    ledger.grant(charlie.id, PRICE, ref="one", reason="test")

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            submit(order(charlie))
            late = threads.submit(at_once, 1, lambda _: submit(order(charlie)))
            eventually(somebody_waits)
        [outcome] = late.result(30)

    assert isinstance(outcome, ApiError)
    assert outcome.status == 402
    assert Job.objects.count() == 1
    assert_books_prove()


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def test_50_at_once_with_one_idempotency_key_make_one_job(
    alice: User, record_property: Record
) -> None:
    same = {"idempotency_key": "once", "body_digest": b"body"}

    outcomes = at_once(50, lambda _: submit(order(alice, **same)))

    job = Job.objects.get()
    assert set(outcomes) == {job.id}
    assert ledger.balance(alice.id).held == PRICE
    assert_books_prove()
    record_property("reached", f"{len(outcomes)} at once made {Job.objects.count()} job")


def test_an_idempotency_key_is_for_one_body(alice: User) -> None:
    submit(order(alice, idempotency_key="once", body_digest=b"body"))

    with pytest.raises(ApiError) as refusal:
        submit(order(alice, idempotency_key="once", body_digest=b"another"))

    assert (refusal.value.status, refusal.value.code) == (422, "idempotency_key_reused")
    assert Job.objects.count() == 1


def test_an_idempotency_key_is_for_one_account_and_route(alice: User, bob: User) -> None:
    same = {"idempotency_key": "once", "body_digest": b"body"}
    submit(order(alice, **same))

    submit(order(bob, **same))
    submit(order(alice, route="audio/speech", **same))

    assert Job.objects.count() == 3


def test_an_idempotency_key_is_free_again_after_a_day(alice: User) -> None:
    first = submitted(alice, idempotency_key="once", body_digest=b"body")
    Job.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))

    second = submitted(alice, idempotency_key="once", body_digest=b"another")

    assert second.id != first.id


def test_a_replay_needs_no_money(charlie: User) -> None:
    ledger.grant(charlie.id, PRICE, ref="one", reason="test")
    same = {"idempotency_key": "once", "body_digest": b"body"}
    first = submit(order(charlie, **same))

    assert submit(order(charlie, **same)) == first


def test_what_may_cost_too_much_is_refused_and_not_written(alice: User) -> None:
    with pytest.raises(ApiError) as refusal:
        submit(order(alice, max_cost=0.009999))

    assert (refusal.value.status, refusal.value.code) == (402, "max_cost_exceeded")
    assert refusal.value.detail == {"required": 0.01, "max_cost": 0.009999}
    assert not Job.objects.exists()
    assert not Transfer.objects.filter(code="hold").exists()
    submit(order(alice, max_cost=0.01))


def test_a_replay_does_not_mind_that_prices_have_risen(alice: User) -> None:
    same = {"idempotency_key": "once", "body_digest": b"body", "max_cost": 0.01}
    first = submit(order(alice, **same))

    assert submit(order(alice, **same, price=2 * PRICE)) == first
