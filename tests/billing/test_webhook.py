"""What is not surely Stripe's webhook for us is refused, and nothing is written."""

import asyncio
import json
from collections.abc import Callable

import pytest
from django.apps import apps
from django.test import AsyncClient
from pytest_django import Settings

from billing import purchases
from billing.money import micros
from modelpilot.accounts.models import User
from tests.billing.conftest import BASE
from tests.fake_stripe.account import Object, StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET, body_of, signature

pytestmark = pytest.mark.django_db(transaction=True)

ROUTE = "/api/v1/billing/stripe/webhook"


@pytest.fixture
def event(charlie: User, stripe: StripeAccount) -> Object:
    """A payment of charlie's, of which we have not heard."""
    purchase = purchases.checkout(charlie.id, micros("10"), BASE)
    assert purchase.session is not None
    stripe.pay(purchase.session)
    return stripe.events[-1]


def sent(body: bytes, signed: str) -> tuple[int, str]:
    """The answer's status and code."""
    answer = asyncio.run(
        AsyncClient().post(
            ROUTE, body, content_type="application/json", headers={"Stripe-Signature": signed}
        )
    )
    told = json.loads(answer.content)
    return answer.status_code, told["error"]["code"] if "error" in told else ""


def everything() -> dict[str, list[object]]:
    """All rows of the books."""
    return {
        model._meta.label: list(model.objects.order_by("pk").values())  # type: ignore[attr-defined]
        for model in apps.get_app_config("billing").get_models()
    }


def test_the_genuine_one_is_heard(event: Object) -> None:
    body = body_of(event)
    before = everything()
    assert sent(body, signature(body)) == (200, "")
    assert everything() != before


Forgery = Callable[[Object], tuple[bytes, str]]


def wrong_secret(event: Object) -> tuple[bytes, str]:
    body = body_of(event)
    return body, signature(body, secret="whsec_other")


def old(event: Object) -> tuple[bytes, str]:
    body = body_of(event)
    return body, signature(body, age_s=301)


def other_mode(event: Object) -> tuple[bytes, str]:
    body = body_of({**event, "livemode": True})
    return body, signature(body)


def large(event: Object) -> tuple[bytes, str]:
    body = body_of({**event, "filler": "x" * 2**20})
    return body, signature(body)


def unsigned(event: Object) -> tuple[bytes, str]:
    return body_of(event), ""


def changed(event: Object) -> tuple[bytes, str]:
    body = body_of(event)
    return body + b" ", signature(body)


@pytest.mark.parametrize(
    ("forge", "answer"),
    [
        (wrong_secret, (400, "invalid_webhook")),
        (old, (400, "invalid_webhook")),
        (other_mode, (400, "invalid_webhook")),
        (unsigned, (400, "invalid_webhook")),
        (changed, (400, "invalid_webhook")),
        (large, (413, "request_too_large")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_forgery_is_refused(
    event: Object, stripe: StripeAccount, forge: Forgery, answer: tuple[int, str]
) -> None:
    before, calls = everything(), stripe.calls

    assert sent(*forge(event)) == answer

    assert everything() == before
    assert stripe.calls == calls


@pytest.mark.parametrize("secret", ["", WEBHOOK_SECRET])
@pytest.mark.parametrize("unset", ["STRIPE_WEBHOOK_SECRETS", "STRIPE_SECRET_KEY"])
def test_without_a_secret_it_is_closed(
    event: Object, stripe: StripeAccount, settings: Settings, unset: str, secret: str
) -> None:
    """Anyone can sign with no secret."""
    setattr(settings, unset, type(getattr(settings, unset))())
    body = body_of(event)
    before, calls = everything(), stripe.calls

    assert sent(body, signature(body, secret=secret)) == (503, "webhook_not_configured")

    assert everything() == before
    assert stripe.calls == calls
