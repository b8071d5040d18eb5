"""The billing page: each sees their own money, all of it, and nobody else's."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from billing import ledger
from billing.models import Account, Purchase
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.jobs import budgets
from modelpilot.jobs.budgets import Cap
from tests.dashboard.conftest import SignedIn

PAGE = "/dashboard/billing/"


def bought(owner: User, dollars: str = "10") -> Purchase:
    """As `purchases.settle` leaves a paid one behind."""
    purchase = Purchase.objects.create(
        owner=owner,
        amount=micros(dollars),
        state="paid",
        paid_at=timezone.now(),
        receipt_url="https://pay.example/receipt",
        session=f"cs_{uuid.uuid4().hex}",
    )
    ledger.credit(
        owner.id,
        purchase.amount,
        Account.Code.STRIPE_CLEARING,
        code="topup",
        ref=str(purchase.id),
    )
    return purchase


def page(signed_in: SignedIn, user: User, query: str = "") -> str:
    answer = signed_in(user).get(PAGE + query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_shows_what_there_is_and_where_it_came_from(signed_in: SignedIn, alice: User) -> None:
    bought(alice)
    text = page(signed_in, alice)

    assert "$20.00" in text  # ten from the cast, ten bought
    assert "Credit bought" in text
    assert "+$10.00" in text
    assert "https://pay.example/receipt" in text


def test_charlie_sees_nothing_of_it(signed_in: SignedIn, alice: User, charlie: User) -> None:
    purchase = bought(alice)
    ledger.freeze(charlie.id, cause="operator:1", reason="Please write to us.")
    text = page(signed_in, charlie)

    assert "receipt" not in text
    assert "Credit bought" not in text
    assert signed_in(charlie).get(f"{PAGE}?purchases={purchase.id}").status_code == 404
    assert "Please write to us." in text
    assert "Please write to us." not in page(signed_in, alice)


def test_without_payments_it_says_how_credit_comes(
    signed_in: SignedIn, alice: User, settings: Settings
) -> None:
    settings.STRIPE_SECRET_KEY = ""
    text = page(signed_in, alice)
    assert "has not set up payments" in text
    assert "data-buy" not in text

    settings.STRIPE_SECRET_KEY = "sk_test_x"
    text = page(signed_in, alice)
    assert "50 % on top of your first purchase" in text

    ledger.credit(alice.id, 1, Account.Code.BONUS_EXPENSE, code="bonus", ref="1")
    assert "on top of your first purchase" not in page(signed_in, alice)


def test_the_ledger_goes_on_page_by_page(signed_in: SignedIn, alice: User) -> None:
    for number in range(30):
        ledger.grant(alice.id, 1, ref=f"small:{number}", reason=f"small {number:02}")
    first = page(signed_in, alice)
    assert "small 29" in first
    assert "small 04" not in first
    cursor = first.partition("before=")[2].partition("#")[0]

    second = page(signed_in, alice, f"?before={cursor}")
    assert "small 05" not in second
    assert "small 04" in second
    assert signed_in(alice).get(f"{PAGE}?before=-1").status_code == 404


def test_debt_and_budgets_are_shown(signed_in: SignedIn, alice: User) -> None:
    ledger.take(alice.id, micros("12"), Account.Code.STRIPE_CLEARING, code="refund", ref="r")
    budgets.put(alice.id, "day", Cap(micros("2.5"), soft_percent=80))
    text = page(signed_in, alice)

    assert "You owe <strong>$2.00</strong>" in text
    assert 'value="2.5"' in text
    assert 'value="80"' in text


def test_a_month_leads_to_its_statement(signed_in: SignedIn, alice: User, charlie: User) -> None:
    name = f"{timezone.now():%Y-%m}"
    leads = signed_in(alice).get(f"/dashboard/billing/months/{name}")
    assert leads.status_code == 302
    statement = signed_in(alice).get(leads.headers["Location"])
    assert alice.email in statement.content.decode()

    later = f"{timezone.now() + timedelta(days=40):%Y-%m}"
    assert signed_in(alice).get(f"/dashboard/billing/months/{later}").status_code == 404


@pytest.mark.parametrize("purchases", [1, 12])
def test_it_asks_little(signed_in: SignedIn, alice: User, purchases: int) -> None:
    for _ in range(purchases):
        bought(alice)
    client = signed_in(alice)
    with CaptureQueriesContext(connection) as asked:
        client.get(PAGE)
    assert len(asked) <= 12, [query["sql"] for query in asked]
