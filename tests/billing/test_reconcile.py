"""Our books against Stripe's: what differs is named, and one oddity hides no other."""

import pytest

from billing import ledger, payments, purchases, reconcile
from billing.models import Purchase, Reversal, Transfer
from billing.money import micros
from modelpilot.accounts.models import User
from tests.billing.conftest import Buy
from tests.billing.test_events import opened, refunded_and_disputed, worth
from tests.cast import assert_books_prove, member
from tests.fake_stripe.account import StripeAccount

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_heard_at_all_is_made_up_for(charlie: User, stripe: StripeAccount) -> None:
    refunded_and_disputed(stripe, opened(charlie))

    assert reconcile.run() == []

    assert worth(charlie) == (0, 0, True)
    assert Purchase.objects.get().state == "paid"


def test_drift_is_named(charlie: User, stripe: StripeAccount) -> None:
    session = opened(charlie)
    stripe.pay(session)
    assert reconcile.run() == []
    purchase = Purchase.objects.get()
    # Stripe has forgotten a refund that we booked, as if it had come from another account.
    Reversal.objects.create(
        purchase=purchase, kind="refund", amount=micros("1"), stage=1, stripe_id="re_unknown"
    )

    (problem,) = reconcile.run()

    assert str(purchase.id) in problem
    assert "$0 went back at Stripe, $1 in the books" in problem


def test_a_payment_that_the_books_have_lost_is_named(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    """As by a backup that was put back."""
    bought(charlie.id)
    lost = opened(charlie)
    purchase = Purchase.objects.get(session=lost)
    Purchase.objects.filter(session=lost).delete()
    stripe.pay(lost)

    (problem,) = reconcile.run()

    intent = stripe.intent_of(lost)
    assert problem == (
        f"payment {intent}: Stripe received $10 for purchase {purchase.id}, "
        "which is not in the books."
    )
    stripe.create_refund({"payment_intent": intent})
    assert reconcile.run() == []


def test_payments_of_other_kinds_are_no_drift(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    bought(member("another").id)
    session = opened(charlie)
    stripe.objects[session].update(metadata={}, of_intent={})
    Purchase.objects.filter(session=session).delete()
    stripe.pay(session)

    assert reconcile.run() == []
    assert worth(charlie) == (0, 0, False)


def test_one_oddity_hides_no_other(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    """A dispute in another currency: how many of our dollars is that?"""
    odd = bought(charlie.id)
    dispute = stripe.dispute(odd.intent or "")
    dispute["currency"] = "jpy"
    stripe.withdraw(dispute["id"])
    unheard = opened(member("another"))
    stripe.pay(unheard)

    problems = reconcile.run()

    assert f"purchase {odd.id}: {dispute['id']} is in 'jpy'." in problems
    assert all("'jpy'" in problem for problem in problems)
    assert Purchase.objects.get(session=unheard).state == "paid"
    assert not Transfer.objects.filter(code="dispute").exists()
    with pytest.raises(payments.Refused):
        purchases.fulfil(odd.session or "")
    dispute["currency"] = "usd"
    assert reconcile.run() == []
    assert ledger.balance(charlie.id).frozen
    assert_books_prove()


def test_a_session_that_stripe_has_forgotten_is_named(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    del stripe.objects[purchase.session or ""]
    del stripe.objects[purchase.intent or ""]

    (problem,) = reconcile.run()

    assert problem == f"purchase {purchase.id}: Stripe knows no session {purchase.session}."
