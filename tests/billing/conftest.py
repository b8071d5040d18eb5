"""A Stripe of our own for each test, and our client talking to it."""

from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from billing import events, payments, purchases
from billing.models import Purchase
from billing.money import micros
from tests.fake_stripe.account import Object, StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET, body_of, signature
from tests.fake_stripe.server import KEY, serving

BASE = "http://testserver"
Buy = Callable[..., Purchase]


@pytest.fixture
def stripe(settings: Settings) -> Iterator[StripeAccount]:
    account = StripeAccount()
    with serving(account) as url:
        settings.STRIPE_SECRET_KEY = KEY
        settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]
        settings.STRIPE_API_BASE = url
        yield account
    payments.client_for.cache_clear()


def deliver(event: Object) -> None:
    """An event as the webhook's route takes it."""
    body = body_of(event)
    found = events.opened(body, signature(body))
    if found is not None:
        events.handle(found)


@pytest.fixture
def bought(stripe: StripeAccount) -> Buy:
    """Buys and pays; credited unless `fulfil=False`."""

    def buy(owner_id: int, usd: str = "10", *, fulfil: bool = True) -> Purchase:
        purchase = purchases.checkout(owner_id, micros(usd), BASE)
        assert purchase.session is not None
        stripe.pay(purchase.session)
        if fulfil:
            purchases.fulfil(purchase.session)
        purchase.refresh_from_db()
        return purchase

    return buy
