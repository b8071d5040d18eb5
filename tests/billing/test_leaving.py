"""Accounts that are deleted with checkouts open: nobody pays for nobody, and a refund is told."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing import ledger, purchases, reconcile, reversals
from billing.models import Purchase
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.jobs import departure
from modelpilot.jobs.housekeeping import check_books
from tests.billing.conftest import BASE, Buy
from tests.cast import assert_books_prove
from tests.fake_stripe.account import Refusal, StripeAccount

pytestmark = pytest.mark.django_db(transaction=True)


def opened(owner: User) -> Purchase:
    return purchases.checkout(owner.id, micros("10"), BASE)


def test_open_checkouts_are_called_off(charlie: User, stripe: StripeAccount) -> None:
    first, second = opened(charlie), opened(charlie)
    departure.close(charlie)

    assert departure.erase(budget_s=30) == 1

    for purchase in (first, second):
        with pytest.raises(Refusal, match="over"):
            stripe.pay(purchase.session or "")
        purchase.refresh_from_db()
        assert purchase.state == "expired"
    assert check_books() == []


def test_stripe_may_be_away_meanwhile(charlie: User, stripe: StripeAccount) -> None:
    purchase = opened(charlie)
    departure.close(charlie)
    stripe.lose_requests = 3

    assert departure.erase(budget_s=30) == 0
    assert departure.erase(budget_s=30) == 1

    purchase.refresh_from_db()
    assert purchase.state == "expired"


def test_what_was_paid_all_the_same_is_told_until_it_is_refunded(
    charlie: User, bob: User, stripe: StripeAccount
) -> None:
    purchase = opened(charlie)
    departure.close(charlie)
    stripe.pay(purchase.session or "")

    assert departure.erase(budget_s=30) == 1

    assert ledger.balance(charlie.id).balance == micros("15")
    assert check_books() == [
        f"purchase {purchase.id} was paid after its account was deleted: refund it."
    ]
    reversals.refund(purchase.id)
    assert check_books() == []
    assert_books_prove()


def test_what_was_paid_before_is_no_matter(charlie: User, bought: Buy) -> None:
    bought(charlie.id)
    departure.close(charlie)
    assert check_books() == []


def test_a_dispute_finds_an_account_that_has_left(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    departure.close(charlie)
    assert departure.erase(budget_s=30) == 1
    stripe.withdraw(stripe.dispute(purchase.intent or "")["id"])

    assert reconcile.run() == []

    now = ledger.balance(charlie.id)
    assert (now.balance, now.debt, now.frozen) == (0, 0, True)
    assert_books_prove()


def test_one_without_a_page_to_pay_on_is_given_up(charlie: User, stripe: StripeAccount) -> None:
    purchase = Purchase.objects.create(owner=charlie, amount=micros("10"))
    departure.close(charlie)
    assert departure.erase(budget_s=30) == 1
    Purchase.objects.update(created_at=timezone.now() - timedelta(days=3))

    assert check_books() == []

    purchase.refresh_from_db()
    assert purchase.state == "expired"
