"""Buying credit with Chromium on the stand-in for Stripe, and what banks do to it afterwards."""

import json
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import overflows, serious
from tests.browser.conftest import SignUp
from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.delivery import delivering
from tests.system import System

BILLING = "/dashboard/billing/"


def buy(page: Page, dollars: str, *, first: bool) -> None:
    """From the billing page to Stripe's and back to ours."""
    page.goto(BILLING)
    expect(page.get_by_text("on top of your first purchase")).to_be_visible(visible=first)
    page.get_by_label("Amount in USD").fill(dollars)
    page.get_by_role("button", name="Continue to payment").click()
    page.wait_for_url("**/pay/cs_*")
    page.get_by_role("button", name="Pay by card").click()
    page.wait_for_url("**/dashboard/billing/success*")
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    page.get_by_role("link", name="To billing").click()
    page.wait_for_url(f"**{BILLING}")


def stats(page: Page) -> dict[str, str]:
    """Available, held and owed, as the page says them."""
    names = page.locator(".stat .label").all_inner_texts()
    return dict(zip(names, page.locator(".stat .value").all_inner_texts(), strict=True))


def soon(page: Page, right: Callable[[], bool], within_s: float = 20) -> None:
    """Load the billing page until it says so: webhooks come when they come."""
    until = time.monotonic() + within_s
    while True:
        page.goto(BILLING)
        if right():
            # What came while this page was made is on the next one whole.
            page.goto(BILLING)
            return
        assert time.monotonic() < until, page.locator("main").inner_text()
        time.sleep(0.3)


def available(page: Page, amount: str) -> Callable[[], bool]:
    return lambda: stats(page)["Available"] == amount


def ledger(page: Page) -> list[tuple[str, str]]:
    """(what, amount), newest first."""
    rows = page.get_by_role("table").last.locator("tbody tr").all()
    return [
        (row.locator("td").first.inner_text(), row.locator("td").last.inner_text()) for row in rows
    ]


def bought(page: Page) -> list[str]:
    """The purchases' states, newest first."""
    return page.get_by_role("table").first.locator("[data-label=State]").all_inner_texts()


def bank(stripe: StripeAccount, act: str, name: str, **form: str) -> dict[str, str]:
    """A lever of the stand-in, pulled by HTTP as a bank would."""
    url = f"{stripe.pay_base}/_test/{act}/{name}"
    with urlopen(Request(url, urlencode(form).encode(), method="POST"), timeout=10) as answer:
        said: dict[str, str] = json.loads(answer.read())
    return said


@pytest.fixture
def picture(page: Page, shots: Path | None) -> Callable[[str], None]:
    """Keeps a picture of the page after each step, where pictures are kept."""
    numbers = count(1)

    def keep(step: str) -> None:
        if shots is not None:
            shots.mkdir(parents=True, exist_ok=True)
            path = shots / f"buying-{next(numbers)}-{step}.png"
            page.screenshot(path=path, full_page=True)

    return keep


@pytest.fixture
def webhooks(stripe: StripeAccount, system: System) -> Iterator[None]:
    """Stripe tells us what happens."""
    with delivering(f"{system.base_url}/api/v1/billing/stripe/webhook") as events:
        stripe.listeners.append(events.put)
        yield
        stripe.listeners.remove(events.put)


def test_from_the_first_purchase_to_a_dispute(
    page: Page,
    sign_up: SignUp,
    stripe: StripeAccount,
    system: System,
    webhooks: None,
    picture: Callable[[str], None],
) -> None:
    sign_up(page, "paula@example.com")
    before = len(stripe.all("checkout.session"))

    # $10, and half on top: two transfers.
    buy(page, "10", first=True)
    assert stats(page)["Available"] == "$15.00"
    assert ledger(page) == [
        ("Bonus of the first purchase", "+$5.00"),
        ("Credit bought", "+$10.00"),
    ]
    assert serious(page) == []
    picture("bought")

    # Once only.
    buy(page, "20", first=False)
    assert stats(page)["Available"] == "$35.00"
    assert ledger(page)[0] == ("Credit bought", "+$20.00")
    picture("bought-again")
    second, first = stripe.all("checkout.session")[: len(stripe.all("checkout.session")) - before]

    # The operator refunds $4 of the first: all of the bonus goes, and then those four.
    system.manage("refund", first["metadata"]["purchase"], "--amount", "4.00")
    soon(page, available(page, "$26.00"))
    assert ledger(page)[:2] == [("Refund", "-$4.00"), ("Bonus taken back", "-$5.00")]
    refunded = page.get_by_role("row").filter(has_text="$4.00").first
    expect(refunded.get_by_role("link", name="Receipt")).to_be_visible()
    assert bought(page) == ["Paid", "Refunded in part"]
    picture("refunded-in-part")

    # And the rest, of which there is no bonus any more.
    system.manage("refund", first["metadata"]["purchase"])
    soon(page, available(page, "$20.00"))
    assert ledger(page)[:3] == [
        ("Refund", "-$6.00"), ("Refund", "-$4.00"), ("Bonus taken back", "-$5.00"),
    ]  # fmt: skip
    picture("refunded")

    # The bank's turn: a dispute freezes, and takes the money later.
    dispute = bank(stripe, "dispute", stripe.intent_of(second["id"]))["id"]
    frozen = page.get_by_role("alert").filter(has_text="Your account is frozen")
    soon(page, frozen.is_visible)
    assert bought(page) == ["Disputed", "Refunded"]
    assert stats(page)["Available"] == "$20.00"
    assert serious(page) == []
    expect(page.get_by_text("can't be spent while")).to_be_visible()
    picture("disputed")

    bank(stripe, "withdraw", dispute)
    soon(page, available(page, "$0.00"))
    expect(frozen).to_be_visible()
    assert ledger(page)[0] == ("Disputed payment", "-$20.00")
    picture("withdrawn")

    bank(stripe, "reinstate", dispute)
    bank(stripe, "close", dispute, won="true")
    soon(page, lambda: stats(page)["Available"] == "$20.00" and not frozen.is_visible())
    assert ledger(page)[0] == ("Disputed payment returned", "+$20.00")
    assert bought(page) == ["Paid", "Refunded"]
    picture("reinstated")
    assert "The books are proved." in system.manage("reconcile")


def test_what_was_spent_becomes_a_debt(
    page: Page,
    sign_up: SignUp,
    stripe: StripeAccount,
    system: System,
    webhooks: None,
    picture: Callable[[str], None],
) -> None:
    sign_up(page, "pedro@example.com")
    buy(page, "5", first=True)
    first = stripe.all("checkout.session")[0]
    chat(page, 3)
    soon(page, available(page, "$7.497"))

    bank(stripe, "refund", stripe.intent_of(first["id"]))

    soon(page, lambda: stats(page).get("Debt") == "$0.003")
    assert stats(page)["Available"] == "$0.00"
    expect(page.get_by_text("You owe $0.003")).to_be_visible()
    assert serious(page) == []
    expect(page.get_by_text("of $5, the rest is owed")).to_be_visible()
    picture("owing")
    # It is repaid first.
    buy(page, "5", first=False)
    soon(page, available(page, "$4.997"))
    assert "Debt" not in stats(page)
    assert ledger(page)[:2] == [("Debt repaid", "-$0.003"), ("Credit bought", "+$5.00")]
    picture("repaid")
    assert "The books are proved." in system.manage("reconcile")


def chat(page: Page, times: int) -> None:
    """What the playground sends."""
    for _ in range(times):
        said = page.evaluate(
            """async () => {
                const token = document.querySelector('meta[name="csrf-token"]').content;
                const answer = await fetch("/api/v1/chat/completions", {
                    method: "POST",
                    headers: {"Content-Type": "application/json", "X-CSRFToken": token},
                    body: JSON.stringify(
                        {model: "echo", messages: [{role: "user", content: "hello"}]}),
                });
                return answer.status;
            }"""
        )
        assert said == 200


def test_codes_and_budgets(phone: Page, sign_up: SignUp, system: System) -> None:
    sign_up(phone, "petra@example.com")
    said = system.manage("codes", "create", "3.00")
    code = next(word for word in said.split() if word.startswith("MP-"))
    phone.goto(BILLING)
    assert not overflows(phone)
    assert serious(phone) == []

    phone.get_by_role("textbox", name="Code").fill("MP-WRONG")
    phone.get_by_role("button", name="Redeem").click()
    expect(phone.get_by_text("This code is wrong, used up or over.")).to_be_visible()
    phone.get_by_role("textbox", name="Code").fill(code.lower())
    phone.get_by_role("button", name="Redeem").click()
    expect(phone.get_by_text("Code redeemed")).to_be_visible()
    assert stats(phone)["Available"] == "$3.00"

    phone.get_by_label("Daily cap").fill("0.5")
    phone.get_by_role("button", name="Save").click()
    expect(phone.get_by_text("of $0.50")).to_be_visible()
    assert not overflows(phone)
