"""Dying at any statement of what moves money, and trying again: nothing lost, nothing doubled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from billing import ledger, payments, purchases, reconcile, reversals
from billing.money import micros
from modelpilot.accounts.models import User
from tests.billing.conftest import Buy
from tests.cast import assert_books_prove
from tests.fake_stripe.account import StripeAccount

pytestmark = pytest.mark.django_db(transaction=True)

MOST = 60


class Died(BaseException):
    """Nobody catches it, as nobody catches kill -9."""


@contextmanager
def dying_at(number: int) -> Iterator[None]:
    left = number

    def wrapper(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Died
        return execute(*arguments)

    with connection.execute_wrapper(wrapper):
        yield


def died(number: int, work: Callable[[], object]) -> bool:
    try:
        with dying_at(number):
            work()
    except Died:
        connection.close()
        return True
    return False


def test_fulfilling(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    purchase = bought(charlie.id, fulfil=False)
    session = purchase.session or ""
    # What dies is a second look too: one with a refund and a dispute in it.
    intent = stripe.intent_of(session)
    stripe.create_refund({"payment_intent": intent, "amount": 300})
    stripe.withdraw(stripe.dispute(intent)["id"])

    deaths = 0
    while died(deaths + 1, lambda: purchases.fulfil(session)):
        assert_books_prove()
        assert ledger.balance(charlie.id).balance == 0
        deaths += 1
        assert deaths < MOST * 3

    assert deaths > 20
    assert ledger.balance(charlie.id).frozen
    assert reconcile.run() == []
    assert_books_prove()


def test_refunding(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    """A refund that dies has taken nothing, or is finished by the reconciler."""
    purchase = bought(charlie.id, "100")
    deaths = 0
    while died(deaths + 1, lambda: reversals.refund(purchase.id, micros("1"))):
        assert_books_prove()
        deaths += 1
        assert deaths < MOST
    assert deaths > 10

    assert reconcile.run(grace=timedelta(0)) == []

    purchase.refresh_from_db()
    refunded = reversals.standing(purchase)
    assert refunded == (10_000 - stripe.received()) * payments.MICROS_PER_CENT
    assert ledger.balance(charlie.id).balance == micros("100") - refunded
    assert_books_prove()
