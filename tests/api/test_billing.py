"""Buying credit over HTTP: checkout, Stripe's page, webhooks, codes, and the account's ledger."""

import csv
import io
import json
from typing import Any

import psutil
import pytest
import requests

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.fake_stripe.account import Object, StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET, body_of, send, signature
from tests.leftovers import eventually
from tests.system import System

WEBHOOK = "/api/v1/billing/stripe/webhook"


def buy(caller: Caller, stripe: StripeAccount, usd: float = 10) -> tuple[dict[str, Any], str]:
    """A purchase that is paid but not heard of yet: (purchase, session)."""
    made = caller.post("billing/checkout", {"amount": usd})
    assert made.status_code == 201, made.text
    purchase: dict[str, Any] = made.json()
    session = purchase["url"].rpartition("/")[2]
    stripe.pay(session)
    return purchase, session


def completed(stripe: StripeAccount, session: str) -> Object:
    return next(
        event
        for event in stripe.events[::-1]
        if event["type"] == "checkout.session.completed"
        and event["data"]["object"]["id"] == session
    )


def test_buying_by_webhook(newcomer: NewCaller, stripe: StripeAccount) -> None:
    dora = newcomer("0")
    purchase, session = buy(dora, stripe)
    assert (purchase["state"], purchase["amount"], purchase["bonus"]) == ("open", 10, 5)
    assert dora.available() == 0

    for _ in range(3):
        assert send(dora.base_url + WEBHOOK, completed(stripe, session)) == 200

    assert dora.available() == 15
    (listed,) = dora.get("billing/purchases").json()["data"]
    assert listed["id"] == purchase["id"]
    assert (listed["state"], listed["bonus"], listed["url"]) == ("paid", 5, None)
    assert requests.get(listed["receipt_url"], timeout=5).status_code == 200
    assert dora.get("billing").json()["first_purchase_bonus"] is False
    second, _ = buy(dora, stripe)
    assert second["bonus"] == 0


def test_buying_by_the_success_page(newcomer: NewCaller, stripe: StripeAccount) -> None:
    dora = newcomer("0")
    purchase = dora.post("billing/checkout", {"amount": 5}).json()
    # The customer's browser, without any key.
    paid = requests.post(purchase["url"], data={"how": "pay"}, timeout=30)

    assert paid.status_code == 200
    assert "/dashboard/billing/success?session_id=cs_" in paid.url
    assert "$5.00 were paid, and $2.50 are added" in paid.text
    assert "You can spend $7.50 now" in paid.text
    assert "default-src 'none'" in paid.headers["Content-Security-Policy"]
    assert dora.available() == 7.5
    for wrong in ("", "?session_id=cs_test_0123456789ab", "?session_id=x%C3"):
        page = requests.get(f"{dora.base_url}/dashboard/billing/success{wrong}", timeout=5)
        assert page.status_code == 404
        assert "No such payment" in page.text


@pytest.mark.parametrize(
    "amount", [4.99, 0, -5, 10_001, 5.001, "x", None, True, 1e308, [5]], ids=str
)
def test_amounts_have_bounds(charlie: Caller, stripe: StripeAccount, amount: object) -> None:
    before = stripe.calls
    error = error_of(charlie.post("billing/checkout", {"amount": amount}), 422, "invalid_value")
    assert error["param"] == "amount"
    assert stripe.calls == before


def test_purchases_are_their_owners(
    newcomer: NewCaller, charlie: Caller, stripe: StripeAccount
) -> None:
    purchase, _ = buy(newcomer("0"), stripe)
    listed = charlie.get("billing/purchases").json()["data"]
    assert purchase["id"] not in {each["id"] for each in listed}
    page = charlie.get("billing/purchases", params={"after": purchase["id"]})
    error_of(page, 404, "purchase_not_found")


def test_forged_webhooks_change_nothing(newcomer: NewCaller, stripe: StripeAccount) -> None:
    dora = newcomer("0")
    _, session = buy(dora, stripe)
    event = completed(stripe, session)
    url = dora.base_url + WEBHOOK
    calls = stripe.calls

    assert send(url, event, secret="whsec_wrong") == 400
    assert send(url, event, age_s=301) == 400
    assert send(url, {**event, "livemode": True}) == 400
    assert requests.post(url, data=body_of(event), timeout=5).status_code == 400
    body = body_of(event)
    for header in ("", "t=1", "v1=2", "t=x,v1=y", f"{signature(body)}0", signature(body + b" ")):
        answer = requests.post(url, body, headers={"Stripe-Signature": header}, timeout=5)
        error_of(answer, 400, "invalid_webhook")
    for senseless in (b"{}", b"[]", b"null", b"\xff", b'{"livemode": false, "type": 3, "id": 1}'):
        text = senseless.decode("latin-1").encode()
        headers = {"Stripe-Signature": signature(text)}
        assert requests.post(url, text, headers=headers, timeout=5).status_code in (200, 400)
    large = json.dumps({**event, "filler": "x" * 1024 * 1024}).encode()
    answer = requests.post(url, large, headers={"Stripe-Signature": signature(large)}, timeout=5)
    error_of(answer, 413, "request_too_large")
    error_of(requests.get(url, timeout=5), 405, "method_not_allowed")

    assert stripe.calls == calls
    assert dora.available() == 0
    (purchase,) = dora.get("billing/purchases").json()["data"]
    assert purchase["state"] == "open"


def test_secrets_rotate_and_an_older_one_counts(newcomer: NewCaller, stripe: StripeAccount) -> None:
    dora = newcomer("0")
    _, session = buy(dora, stripe)
    event = completed(stripe, session)

    assert send(dora.base_url + WEBHOOK, event, secret="whsec_before", age_s=290) == 200
    assert dora.available() == 15


def test_stripe_is_asked_to_come_again_when_its_api_is_away(
    newcomer: NewCaller, stripe: StripeAccount
) -> None:
    dora = newcomer("0")
    _, session = buy(dora, stripe)
    event = completed(stripe, session)
    stripe.lose_requests = 3

    assert send(dora.base_url + WEBHOOK, event) == 503
    assert dora.available() == 0
    assert send(dora.base_url + WEBHOOK, event) == 200
    assert dora.available() == 15


def test_a_checkout_without_stripe_says_so(newcomer: NewCaller, stripe: StripeAccount) -> None:
    dora = newcomer("0")
    stripe.lose_requests = 3

    answer = dora.post("billing/checkout", {"amount": 10})

    error_of(answer, 503, "payments_unavailable")
    assert answer.headers["Retry-After"]


def test_refund_and_dispute_end_to_end(
    newcomer: NewCaller, stripe: StripeAccount, system: System
) -> None:
    dora = newcomer("0")
    url = dora.base_url + WEBHOOK
    (first, one), (_, two) = buy(dora, stripe), buy(dora, stripe, 20)
    for session in (one, two):
        send(url, completed(stripe, session))
    assert dora.available() == 35

    said = system.manage("refund", first["id"], "--amount=4.00")
    assert "$4.00 are refunded" in said
    assert dora.available() == 26
    assert dora.get("billing/purchases").json()["data"][1]["refunded"] == 4

    dispute = stripe.dispute(stripe.intent_of(two))
    assert send(url, stripe.events[-1]) == 200
    assert dora.get("billing").json()["frozen"] is True
    error_of(dora.chat("hello"), 403, "account_frozen")
    stripe.withdraw(dispute["id"])
    assert send(url, stripe.events[-1]) == 200
    assert dora.available() == 6
    stripe.reinstate(dispute["id"])
    stripe.close(dispute["id"], won=True)
    for event in stripe.events[-2:]:
        assert send(url, event) == 200
    assert dora.available() == 26
    assert dora.chat("hello").status_code == 200

    # Nobody tells of this one.
    buy(dora, stripe)
    assert "Stripe and the ledger agree.\nThe books are proved." in system.manage("reconcile")
    assert dora.available() == 36 - 0.001


def test_codes(newcomer: NewCaller, system: System) -> None:
    dora, emil = newcomer("0"), newcomer("0")
    code = system.manage("codes", "create", "5.00", "--note=fair").strip()

    redeemed = dora.post("billing/redeem", {"code": code.lower()})

    assert redeemed.json() == {"object": "redemption", "amount": 5, "available": 5}
    error = error_of(emil.post("billing/redeem", {"code": code}), 404, "code_not_found")
    assert error["param"] == "code"


def test_codes_are_not_guessed(newcomer: NewCaller) -> None:
    dora = newcomer("0")
    statuses = [
        dora.post("billing/redeem", {"code": f"MP-{number:016}"}).status_code
        for number in range(12)
    ]
    assert statuses == [404] * 10 + [429] * 2


def test_the_ledger_is_paged_and_comes_as_csv(
    newcomer: NewCaller, charlie: Caller, stripe: StripeAccount
) -> None:
    dora = newcomer("0")
    purchase, session = buy(dora, stripe)
    send(dora.base_url + WEBHOOK, completed(stripe, session))
    job = dora.chat("hello").json()["x_modelpilot"]["job_id"]

    everything = dora.get("billing/transfers").json()["data"]
    assert [(each["type"], each["amount"]) for each in everything] == [
        ("charge", -0.001),
        ("bonus", 5),
        ("topup", 10),
    ]
    assert everything[0]["reference"] in job or job in everything[0]["reference"]
    assert everything[2]["reference"] == purchase["id"]
    paged = []
    after: dict[str, int] = {}
    while True:
        page = dora.get("billing/transfers", params={"limit": 2, **after}).json()
        paged += page["data"]
        if not page["has_more"]:
            break
        after = {"after": page["data"][-1]["id"]}
    assert paged == everything
    answer = dora.get("billing/transfers", params={"format": "csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["type"], row["amount"]) for row in rows] == [
        ("charge", "-0.001"),
        ("bonus", "5"),
        ("topup", "10"),
    ]
    assert everything[0]["id"] not in {
        each["id"] for each in charlie.get("billing/transfers").json()["data"]
    }


def test_pods_know_nothing_of_stripe(alice: Caller, system: System) -> None:
    alice.chat("hello")
    parts = psutil.Process(system.pid).children(recursive=True)
    eventually(lambda: any("pod" in part.cmdline() for part in parts))
    for part in parts:
        words = part.cmdline()
        named = [name for name in part.environ() if name.startswith("STRIPE_")]
        if "pod" in words or "node" in words:
            assert named == [], words
            assert WEBHOOK_SECRET not in str(part.environ())


@pytest.mark.parametrize(
    ("since", "count"),
    [
        ("0689-02-15T23:50:54+19:13", 1),
        ("0001-01-01T00:00:00+10:00", 1),
        ("9999-12-31T23:59:59-10:00", 0),
        ("2020-01-01T00:00:00", 1),
        ("0", 1),
    ],
)
def test_transfers_since_any_moment(newcomer: NewCaller, since: str, count: int) -> None:
    """PostgreSQL takes fewer offsets than RFC 3339."""
    answer = newcomer("1").get("billing/transfers", params={"since": since})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == count
