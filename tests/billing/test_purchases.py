"""Buying credit: paid once is credited once, whoever hears of it how often."""

import time
from collections.abc import Callable

import pytest

from billing import ledger, payments, purchases
from billing.models import Purchase, Transfer
from billing.money import micros
from modelpilot.accounts.models import User
from tests.billing.conftest import BASE, Buy
from tests.cast import assert_books_prove, at_once
from tests.fake_stripe.account import StripeAccount

pytestmark = pytest.mark.django_db(transaction=True)

Record = Callable[[str, object], None]


def dollars(owner: User) -> float:
    return ledger.balance(owner.id).balance / 1_000_000


def test_the_first_purchase_earns_half_on_top(charlie: User, bought: Buy) -> None:
    first, second = bought(charlie.id), bought(charlie.id, "20")

    assert (first.state, first.bonus) == ("paid", micros("5"))
    assert (second.state, second.bonus) == ("paid", 0)
    assert first.receipt_url
    assert dollars(charlie) == 35
    assert_books_prove()


def test_50_at_once_credit_once(charlie: User, bought: Buy, record_property: Record) -> None:
    purchase = bought(charlie.id, fulfil=False)
    assert purchase.session is not None
    session = purchase.session

    outcomes = at_once(50, lambda _: purchases.fulfil(session))

    assert all(isinstance(each, Purchase) and each.state == "paid" for each in outcomes)
    topups = Transfer.objects.filter(code="topup").count()
    assert topups == 1
    assert dollars(charlie) == 15
    assert_books_prove()
    record_property("reached", f"{len(outcomes)} at once gave {topups} credit")


def test_20_first_purchases_at_once_earn_one_bonus(
    charlie: User, bought: Buy, record_property: Record
) -> None:
    sessions = [bought(charlie.id, fulfil=False).session or "" for _ in range(20)]

    outcomes = at_once(20, lambda number: purchases.fulfil(sessions[number]))

    assert all(isinstance(each, Purchase) for each in outcomes)
    bonuses = Transfer.objects.filter(code="bonus").count()
    assert bonuses == 1
    assert dollars(charlie) == 205
    assert_books_prove()
    record_property("reached", f"{len(outcomes)} first purchases at once gave {bonuses} bonus")


def test_an_unpaid_session_credits_nothing(charlie: User, stripe: StripeAccount) -> None:
    purchase = purchases.checkout(charlie.id, micros("10"), BASE)
    assert purchase.session is not None

    assert purchases.fulfil(purchase.session) == purchase
    assert dollars(charlie) == 0
    stripe.expire(purchase.session)
    purchases.fulfil(purchase.session)

    purchase.refresh_from_db()
    assert purchase.state == "expired"
    assert_books_prove()


def test_slow_money_is_credited_when_it_comes(charlie: User, stripe: StripeAccount) -> None:
    purchase = purchases.checkout(charlie.id, micros("10"), BASE)
    session = purchase.session or ""
    stripe.pay(session, delayed=True)

    purchases.fulfil(session)
    purchase.refresh_from_db()
    assert (purchase.state, dollars(charlie)) == ("processing", 0)
    stripe.arrive(session)
    purchases.fulfil(session)

    purchase.refresh_from_db()
    assert (purchase.state, dollars(charlie)) == ("paid", 15)


def test_slow_money_may_never_come(charlie: User, stripe: StripeAccount) -> None:
    purchase = purchases.checkout(charlie.id, micros("10"), BASE)
    stripe.pay(purchase.session or "", delayed=True)
    stripe.bounce(purchase.session or "")

    purchases.fulfil(purchase.session or "")

    purchase.refresh_from_db()
    assert (purchase.state, dollars(charlie)) == ("failed", 0)


@pytest.mark.parametrize(
    "lie",
    [{"amount_total": 100_000}, {"amount_total": 1}, {"currency": "jpy"}, {"livemode": True}],
    ids=str,
)
def test_what_was_not_asked_for_credits_nothing(
    charlie: User, stripe: StripeAccount, bought: Buy, lie: dict[str, object]
) -> None:
    purchase = bought(charlie.id, fulfil=False)
    stripe.objects[purchase.session or ""].update(lie)

    purchases.fulfil(purchase.session or "")

    purchase.refresh_from_db()
    assert (purchase.state, dollars(charlie)) == ("mismatched", 0)
    assert purchase.note
    assert_books_prove()


def test_sessions_of_others_are_left_alone(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id, fulfil=False)
    stripe.objects[purchase.session or ""]["metadata"] = {"order": "of another shop"}

    assert purchases.fulfil(purchase.session or "") is None
    assert dollars(charlie) == 0
    with pytest.raises(payments.UnknownSession):
        purchases.fulfil("cs_test_unknown")


def test_it_is_asked_for_in_dollars_whatever_the_customers_money(
    charlie: User, stripe: StripeAccount
) -> None:
    purchases.checkout(charlie.id, micros("12.34"), BASE)

    (session,) = stripe.all("checkout.session")
    assert (session["amount_total"], session["currency"]) == (1234, "usd")
    assert session["adaptive_pricing"] == {"enabled": "false"}


def test_a_webhook_may_be_here_before_the_checkout_returns(
    charlie: User, stripe: StripeAccount
) -> None:
    """Stripe's first answer is lost, and somebody pays before it is asked again."""
    stripe.lose_answers = 1

    def early() -> Purchase | None:
        while not stripe.all("checkout.session"):
            time.sleep(0.01)
        session = stripe.all("checkout.session")[0]["id"]
        assert Purchase.objects.get().session is None
        stripe.pay(session)
        return purchases.fulfil(session)

    both = (lambda: purchases.checkout(charlie.id, micros("10"), BASE), early)
    made, paid = at_once(2, lambda place: both[place]())

    assert made == paid == Purchase.objects.get()
    assert Purchase.objects.get().state == "paid"
    assert dollars(charlie) == 15
    assert_books_prove()


def test_a_lost_answer_makes_no_second_session(charlie: User, stripe: StripeAccount) -> None:
    stripe.lose_answers = 1

    purchase = purchases.checkout(charlie.id, micros("10"), BASE)

    assert len(stripe.all("checkout.session")) == 1
    assert purchase.session == stripe.all("checkout.session")[0]["id"]


def test_without_stripe_the_row_stays_and_nothing_is_owed(
    charlie: User, stripe: StripeAccount
) -> None:
    stripe.lose_requests = 10

    with pytest.raises(payments.Unavailable):
        purchases.checkout(charlie.id, micros("10"), BASE)

    assert Purchase.objects.get().session is None
    assert_books_prove()
