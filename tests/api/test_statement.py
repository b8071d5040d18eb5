"""The month's statement: as JSON, as a table, and as a page to print."""

import csv
import io
import re

import requests

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.fake_stripe.account import StripeAccount


def test_a_month(newcomer: NewCaller, stripe: StripeAccount) -> None:
    dora = newcomer("0")
    url = dora.post("billing/checkout", {"amount": 10}).json()["url"]
    requests.post(url, data={"how": "pay"}, timeout=30)
    for words in ("one", "two", "three"):
        assert dora.chat(words).status_code == 200

    month = dora.get("billing/statement").json()

    assert (month["opening_balance"], month["closing_balance"]) == (0, 14.997)
    assert [(move["type"], move["amount"]) for move in month["moves"]] == [
        ("topup", 10),
        ("bonus", 5),
    ]
    assert month["charges"] == [{"model": "echo", "requests": 3, "cost": 0.003}]
    assert (month["charged"], month["complete"]) == (0.003, False)
    assert month["closing_balance"] == dora.available()

    answer = dora.get("billing/statement", params={"format": "csv", "month": month["month"]})
    assert month["month"] in answer.headers["Content-Disposition"]
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(line["type"], line["amount"]) for line in lines] == [
        ("opening_balance", "0"),
        ("topup", "10"),
        ("bonus", "5"),
        ("charges", "-0.003"),
        ("closing_balance", "14.997"),
    ]

    page = requests.get(month["url"], timeout=5)
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "http" not in re.sub(r"<!doctype.*?<main>", "", page.text, flags=re.DOTALL)
    for words in ("Credit bought", "$10.00", "$5.00", "-$0.003", "$14.997", "newcomer"):
        assert words in page.text
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    nonce = re.search(r"nonce-([^']+)", policy)
    assert nonce is not None
    assert f'<style nonce="{nonce[1]}">' in page.text


def test_others_see_nothing_of_it(charlie: Caller, alice: Caller) -> None:
    mine, theirs = (
        requests.get(caller.get("billing/statement").json()["url"], timeout=5).text
        for caller in (alice, charlie)
    )
    assert "alice@example.com" in mine
    assert "alice@example.com" not in theirs
    for token in ("x", "x:y:z", "%C3"):
        page = requests.get(f"{alice.base_url}/dashboard/billing/statement/{token}", timeout=5)
        assert page.status_code == 404
        assert "No such statement" in page.text


def test_months_have_bounds(alice: Caller) -> None:
    for month in ("2999-01", "2026-13", "2026", "2026-1", "1999-01"):
        error = error_of(
            alice.get("billing/statement", params={"month": month}), 422, "invalid_value"
        )
        assert error["param"] == "month"
