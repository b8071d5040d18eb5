"""Processes die (SIGKILL) at every boundary of what moves money: nothing is lost or doubled."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from billing import ledger, payments, reconcile, reversals
from billing.models import Purchase, Transfer
from billing.money import micros
from modelpilot.accounts.models import User
from tests.billing.conftest import Buy
from tests.cast import assert_books_prove, member
from tests.fake_stripe.account import StripeAccount
from tests.mortal import Mortals, mortals

__all__ = ["mortals"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("books")]

Record = Callable[[str, object], None]


@pytest.fixture
def stride(full: bool) -> int:
    """Of that many boundaries, one is died at."""
    return 1 if full else 5


def test_fulfilling(
    stripe: StripeAccount, bought: Buy, mortals: Mortals, record_property: Record, stride: int
) -> None:
    """Of a first purchase: the credit and the bonus come together, and once."""
    purchases: list[Purchase] = []

    def prepare() -> dict[str, Any]:
        owner = member(f"buyer{len(purchases)}")
        purchases.append(bought(owner.id, fulfil=False))
        return {"session": purchases[-1].session}

    deaths, credited = 0, 0
    for _ in mortals.deaths("fulfil", prepare, stride=stride):
        deaths += 1
        assert_books_prove()
        purchase = purchases[-1]
        balance = ledger.balance(purchase.owner_id).balance
        assert balance in (0, micros("15"))
        credited += balance > 0
        # The webhook, the success page or the reconciler comes by again.
        assert reconcile.run() == []
        assert ledger.balance(purchase.owner_id).balance == micros("15")
        assert_books_prove()

    assert 0 < credited < deaths
    assert Transfer.objects.filter(code="topup").count() == deaths + 1
    assert Transfer.objects.filter(code="bonus").count() == deaths + 1
    record_property("reached", f"fulfil: {deaths} deaths")


def test_fulfilling_what_was_reversed_meanwhile(
    charlie: User,
    stripe: StripeAccount,
    bought: Buy,
    mortals: Mortals,
    record_property: Record,
    stride: int,
) -> None:
    purchase = bought(charlie.id, fulfil=False)
    session = purchase.session or ""
    intent = stripe.intent_of(session)
    stripe.create_refund({"payment_intent": intent, "amount": 300})
    stripe.withdraw(stripe.dispute(intent)["id"])

    deaths = 0
    for _ in mortals.deaths("fulfil", lambda: {"session": session}, stride=stride):
        deaths += 1
        assert_books_prove()
        assert ledger.balance(charlie.id).balance == 0

    assert deaths > 100 / stride
    assert ledger.balance(charlie.id).frozen
    assert reconcile.run() == []
    assert_books_prove()
    record_property("reached", f"fulfil with a refund and a dispute: {deaths} deaths")


def test_refunding(
    charlie: User,
    stripe: StripeAccount,
    bought: Buy,
    mortals: Mortals,
    record_property: Record,
    stride: int,
) -> None:
    """A refund that dies has taken nothing, or is finished by the reconciler."""
    purchase = bought(charlie.id, "1000")
    wanted = {"purchase": str(purchase.id), "amount": micros("1")}
    deaths = 0
    for _ in mortals.deaths("refund", lambda: wanted, stride=stride):
        deaths += 1
        assert_books_prove()
    assert deaths > 50 / stride

    assert reconcile.run(grace=timedelta(0)) == []

    purchase.refresh_from_db()
    refunded = reversals.standing(purchase)
    assert refunded == (100_000 - stripe.received()) * payments.MICROS_PER_CENT
    assert ledger.balance(charlie.id).balance == micros("1000") - refunded
    assert_books_prove()
    record_property("reached", f"refund: {deaths} deaths")
