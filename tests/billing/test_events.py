"""Stripe's events in every order, doubled and lost: credits = payments - reversals."""

import random
from collections.abc import Callable, Iterator
from itertools import count, permutations

import pytest

from billing import ledger, purchases, reconcile, reversals
from billing.models import Account, Purchase
from billing.money import micros
from billing.payments import MICROS_PER_CENT as CENT
from modelpilot.accounts.models import User
from tests.billing.conftest import BASE, deliver
from tests.cast import assert_books_prove, member
from tests.fake_stripe.account import Object, StripeAccount
from tests.fake_stripe.delivery import Post

pytestmark = pytest.mark.django_db(transaction=True)

Scenario = Callable[[StripeAccount, str], object]
Record = Callable[[str, object], None]
numbers = count()


def refunded_and_disputed(stripe: StripeAccount, session: str) -> None:
    """The events are: completed, refund.created, charge.refunded, dispute.created, withdrawn."""
    stripe.pay(session)
    intent = stripe.intent_of(session)
    stripe.create_refund({"payment_intent": intent, "amount": 300})
    stripe.withdraw(stripe.dispute(intent)["id"])


def disputed_after_all_was_refunded(stripe: StripeAccount, session: str) -> None:
    """The same. The bank takes again what the customer has back already."""
    stripe.pay(session)
    intent = stripe.intent_of(session)
    stripe.create_refund({"payment_intent": intent})
    stripe.withdraw(stripe.dispute(intent)["id"])


def refunded_in_parts(stripe: StripeAccount, session: str) -> None:
    """completed, then twice: refund.created, charge.refunded."""
    stripe.pay(session)
    for cents in (300, 200):
        stripe.create_refund({"payment_intent": stripe.intent_of(session), "amount": cents})


def won_back(stripe: StripeAccount, session: str) -> None:
    """completed, dispute.created, withdrawn, reinstated, closed."""
    stripe.pay(session)
    dispute = stripe.dispute(stripe.intent_of(session))["id"]
    stripe.withdraw(dispute)
    stripe.reinstate(dispute)
    stripe.close(dispute, won=True)


def lost(stripe: StripeAccount, session: str) -> None:
    """completed, dispute.created, withdrawn, closed."""
    stripe.pay(session)
    dispute = stripe.dispute(stripe.intent_of(session))["id"]
    stripe.withdraw(dispute)
    stripe.close(dispute, won=False)


def refund_failed(stripe: StripeAccount, session: str) -> None:
    """completed, refund.created, charge.refunded, charge.refund.updated, refund.failed."""
    stripe.pay(session)
    refund = stripe.create_refund({"payment_intent": stripe.intent_of(session)})
    stripe.fail_refund(refund["id"])


def paid_late(stripe: StripeAccount, session: str) -> None:
    """completed, async_payment_succeeded, refund.created, charge.refunded."""
    stripe.pay(session, delayed=True)
    stripe.arrive(session)
    stripe.create_refund({"payment_intent": stripe.intent_of(session), "amount": 100})


def never_came(stripe: StripeAccount, session: str) -> None:
    """completed, async_payment_failed."""
    stripe.pay(session, delayed=True)
    stripe.bounce(session)


def expired(stripe: StripeAccount, session: str) -> None:
    stripe.expire(session)


def paid(stripe: StripeAccount, session: str) -> None:
    stripe.pay(session)


# What $10 come to, with the bonus: (cents, held, frozen); below zero is owed.
SCENARIOS: dict[Scenario, tuple[int, int, bool]] = {
    refunded_and_disputed: (0, 0, True),
    disputed_after_all_was_refunded: (-1000, 0, True),
    refunded_in_parts: (500, 0, False),
    won_back: (1500, 0, False),
    lost: (0, 0, True),
    refund_failed: (1500, 0, False),
    paid_late: (900, 0, False),
    never_came: (0, 0, False),
    expired: (0, 0, False),
    paid: (1500, 0, False),
}


def opened(owner: User) -> str:
    purchase = purchases.checkout(owner.id, micros("10"), BASE)
    assert purchase.session is not None
    return purchase.session


def assert_credits_are_payments_less_reversals(stripe: StripeAccount) -> None:
    """In all, by what the ledger says that Stripe holds for us; and of each purchase."""
    account = Account.objects.get(code="stripe_clearing")
    out, back = (
        sum(moves.values_list("amount", flat=True)) for moves in (account.debits, account.credits)
    )
    assert (out - back) // CENT == stripe.received()
    for purchase in Purchase.objects.exclude(intent=None):
        credited = purchase.amount if purchase.state == "paid" else 0
        kept = (credited - reversals.standing(purchase)) // CENT
        assert kept == stripe.received(payment_intent=purchase.intent), purchase.id
    assert_books_prove()


def worth(owner: User) -> tuple[int, int, bool]:
    """Net credit in cents (a debt counts against it), and whether it is frozen."""
    now = ledger.balance(owner.id)
    return (now.balance - now.debt) // CENT, now.held, now.frozen


def orders_of(scenario: Scenario) -> list[tuple[int, ...]]:
    """All orders of the events that a scenario makes."""
    trial = StripeAccount()
    line = {"price_data": {"unit_amount": "1000", "currency": "usd"}}
    asked = {"mode": "payment", "line_items": {"0": line}, "success_url": BASE}
    scenario(trial, trial.create_session(asked)["id"])
    return list(permutations(range(len(trial.events))))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
def test_every_order_each_event_three_times(
    books: None,
    stripe: StripeAccount,
    scenario: Scenario,
    full: bool,
    seed: int,
    record_property: Record,
) -> None:
    orders = orders_of(scenario)
    if not full:
        orders = random.Random(seed).sample(orders, min(6, len(orders)))
    for order in orders:
        owner = member(f"order{next(numbers)}")
        session = opened(owner)
        before = len(stripe.events)
        scenario(stripe, session)
        events = stripe.events[before:]
        for place in order:
            for event in [events[place]] * 3:
                deliver(event)
        assert worth(owner) == SCENARIOS[scenario], [events[place]["type"] for place in order]
    assert_credits_are_payments_less_reversals(stripe)
    record_property("reached", f"{scenario.__name__}: {len(orders)} orders")


def doings(stripe: StripeAccount, rng: random.Random, session: str) -> Iterator[None]:
    """What may happen to one purchase over time."""
    rng.choice(list(SCENARIOS))(stripe, session)
    yield
    intent = stripe.objects[session]["payment_intent"]
    if intent is None:
        return
    for refund in stripe.all("refund", payment_intent=intent):
        if refund["status"] == "succeeded" and rng.random() < 0.3:
            stripe.fail_refund(refund["id"])
            yield
    for dispute in stripe.all("dispute", payment_intent=intent):
        if dispute["status"] == "needs_response" and rng.random() < 0.5:
            stripe.reinstate(dispute["id"])
            yield
            stripe.close(dispute["id"], won=True)
            yield


def test_a_tenth_lost_and_reconciled(
    books: None, stripe: StripeAccount, full: bool, seed: int, record_property: Record
) -> None:
    rng = random.Random(seed)
    post = Post(rng, drop=0.1, copies=3, shuffle=True)
    owners = [member(f"lossy{next(numbers)}") for _ in range(100 if full else 12)]
    under_way = [doings(stripe, rng, opened(owner)) for owner in owners for _ in range(2)]
    waiting: list[Object] = []
    sent = 0
    while under_way:
        each = rng.choice(under_way)
        if next(each, StopIteration) is StopIteration:
            under_way.remove(each)
        waiting += stripe.events[sent:]
        sent = len(stripe.events)
        if rng.random() < 0.4:
            for event in post.arranged(waiting):
                deliver(event)
            waiting = []

    assert reconcile.run() == []

    assert_credits_are_payments_less_reversals(stripe)
    assert reconcile.run() == []
    record_property("reached", f"{post.dropped} of {sent} events lost, seed {seed}")
