"""`make stripe-check`: what the tests do with a stand-in for Stripe, done once with Stripe itself.

In Stripe's test mode, where no money moves, and by hand, as its pages are: it needs a secret key
of that mode in STRIPE_SECRET_KEY, and somebody who pays twice in a browser with Stripe's cards for
testing. It buys, refunds, is disputed and wins, in a throw-away installation on this machine, and
says what the balance is after each; then it compares Stripe's objects with the stand-in's, field by
field. No webhook reaches this machine unless `stripe listen` forwards them (then say
STRIPE_WEBHOOK_SECRET too): reconciling does their work. Exit status 1 if anything is otherwise
than the tests have it.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
import stripe

from tests.fake_stripe.account import Object, StripeAccount
from tests.system import System, product

CARD = "4242 4242 4242 4242"
DISPUTED = "4000 0000 0000 0259"
# Evidence by which Stripe's test mode closes a dispute as won.
WINNING = "winning_evidence"
# Seconds that a person, and that Stripe, may take.
PERSON_S, STRIPE_S = 1800.0, 180.0
LOOK_S = 2.0
# What the stand-in keeps for itself.
PRIVATE = {"of_intent"}


@dataclass
class Shop:
    """The installation, its one customer's key, and Stripe's own client beside it."""

    system: System
    key: str
    client: stripe.StripeClient
    wrong: list[str] = field(default_factory=list)

    def call(self, path: str, body: Object | None = None) -> Any:
        """The customer's request to our API."""
        answer = requests.request(
            "GET" if body is None else "POST",
            f"{self.system.base_url}/api/v1/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=120,
        )
        answer.raise_for_status()
        return answer.json()

    def buy(self, card: str) -> Object:
        """A purchase of $10, once somebody has paid it."""
        purchase: Object = self.call("billing/checkout", {"amount": 10})
        print(f"\nPay with the card {card}, any date to come, any other digits:", flush=True)
        print(f"  {purchase['url']}\n", flush=True)
        self.until(lambda: self.states()[purchase["id"]] == "paid", "the purchase paid", PERSON_S)
        return purchase

    def states(self) -> dict[str, str]:
        return {each["id"]: each["state"] for each in self.call("billing/purchases")["data"]}

    def until(self, so: Callable[[], bool], what: str, within_s: float = STRIPE_S) -> None:
        """Catch up with Stripe until it is so."""
        end = time.monotonic() + within_s
        while not so():
            if time.monotonic() > end:
                sys.exit(f"After {within_s:.0f} s there is not: {what}. {self.call('billing')}")
            self.reconciled()
            time.sleep(LOOK_S)

    def reconciled(self) -> str:
        try:
            return self.system.manage("reconcile")
        except AssertionError as problems:
            return str(problems)

    def has(self, available: float, after: str, *, frozen: bool = False) -> None:
        """The balance is, or becomes, so much."""

        def so() -> bool:
            now = self.call("billing")
            return bool((now["available"], now["frozen"]) == (available, frozen))

        words = f"${available:.2f} available{', frozen' if frozen else ''}"
        self.until(so, f"{words} after {after}")
        said = self.reconciled()
        if "Stripe and the ledger agree." not in said:
            self.wrong.append(f"after {after}: {said.strip()}")
        print(f"ok  {words} after {after}", flush=True)

    def real(self, purchase: Object) -> dict[str, Object]:
        """Stripe's objects of a purchase, by their kinds."""
        api = self.client.v1
        name = purchase["url"].split("/")[-1].partition("#")[0]
        session = api.checkout.sessions.retrieve(name, {"expand": ["payment_intent.latest_charge"]})
        found: Object = session.to_dict()
        intent = found["payment_intent"]
        of_payment: Any = {"payment_intent": intent["id"]}
        lists = (api.refunds.list(of_payment), api.disputes.list(of_payment))
        listed: list[Object] = [each.to_dict() for every in lists for each in every.data]
        return {each["object"]: each for each in (found, intent, intent["latest_charge"], *listed)}


def story(shop: Shop) -> dict[str, Object]:
    """Everything that may become of money; Stripe's objects of it, by their kinds."""
    first = shop.buy(CARD)
    shop.has(15, "the first purchase, with its bonus")
    shop.system.manage("refund", first["id"], "--amount", "4.00", "--reason", "a check")
    shop.has(6, "a refund of $4: the bonus goes first")
    second = shop.buy(DISPUTED)
    shop.has(6, "a second purchase and its dispute", frozen=True)
    dispute = shop.real(second)["dispute"]["id"]
    shop.client.v1.disputes.update(
        dispute, {"evidence": {"uncategorized_text": WINNING}, "submit": True}
    )
    shop.has(16, "the dispute was won")
    shop.system.manage("refund", first["id"], "--reason", "a check")
    shop.has(10, "a refund of the rest of the first")
    return shop.real(first) | shop.real(second)


def stand_in() -> dict[str, Object]:
    """The same objects of the stand-in for Stripe."""
    account = StripeAccount()
    line = {"price_data": {"unit_amount": "1000", "currency": "usd"}}
    asked = {"mode": "payment", "line_items": {"0": line}, "success_url": "http://localhost"}
    session = account.create_session(asked)["id"]
    account.pay(session)
    intent = account.intent_of(session)
    account.create_refund({"payment_intent": intent, "amount": "100"})
    account.withdraw(account.dispute(intent)["id"])
    return {each["object"]: each for each in account.objects.values()}


def differences(ours: Object, theirs: Object, path: str) -> Iterator[str]:
    """What the stand-in has and Stripe has not, or in another form."""
    for name, value in ours.items():
        if name in PRIVATE:
            continue
        if name not in theirs:
            yield f"{path}.{name} is not there at Stripe"
        elif (form := form_of(theirs[name])) != form_of(value) and "null" not in (
            form,
            form_of(value),
        ):
            yield f"{path}.{name} is {form} at Stripe, {form_of(value)} here"


def form_of(value: Any) -> str:
    """An object may stand for its id (`expand`)."""
    if isinstance(value, dict) and "id" in value:
        return "str"
    return "null" if value is None else type(value).__name__


def main() -> None:
    key = os.environ.get("STRIPE_SECRET_KEY", "")
    if not key.startswith(("sk_test_", "rk_test_")):
        sys.exit("Set STRIPE_SECRET_KEY to a key of Stripe's test mode: sk_test_…")
    base = os.environ.get("STRIPE_API_BASE")
    client = stripe.StripeClient(key, base_addresses={"api": base} if base else None)
    with product() as system:
        system.start()
        shop = Shop(system, system.account("customer@example.com"), client)
        real = story(shop)
    for kind, ours in stand_in().items():
        theirs = real.get(kind)
        shop.wrong += [f"no {kind}"] if theirs is None else differences(ours, theirs, kind)
    for problem in shop.wrong:
        print(f"NOT so: {problem}")
    print(f"{len(shop.wrong)} differences from what the tests have.")
    sys.exit(bool(shop.wrong))


if __name__ == "__main__":
    main()
