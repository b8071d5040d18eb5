"""`make stripe-check`, with the stand-in for Stripe in Stripe's place and a test as the payer."""

import os
import re
import subprocess
import sys

from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.server import KEY, serving
from tests.system import ROOT

PAGE = re.compile(r"/pay/(cs_\w+)")


def run(**env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stripe_check"],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_it_goes_through_the_whole_story() -> None:
    stripe = StripeAccount()
    said = []
    with (
        serving(stripe) as url,
        run(STRIPE_SECRET_KEY=KEY, STRIPE_API_BASE=url) as check,
    ):
        assert check.stdout is not None
        for line in check.stdout:
            said.append(line)
            if found := PAGE.search(line):
                stripe.pay(found[1])
                if len(stripe.all("charge")) == 2:
                    stripe.withdraw(stripe.dispute(stripe.intent_of(found[1]))["id"])
    text = "".join(said)
    assert check.returncode == 0, text
    assert text.count("ok  $") == 5, text
    assert "0 differences from what the tests have." in text


def test_real_money_is_not_played_with() -> None:
    with run(STRIPE_SECRET_KEY="sk_live_0123456789") as check:
        assert check.stdout is not None
        assert "a key of Stripe's test mode" in check.stdout.read()
    assert check.returncode == 1
