"""Stripe's webhooks: is it really Stripe, have we acted on it, and if not, what to look at."""

import json
from dataclasses import dataclass
from typing import Any

import stripe
from django.conf import settings

from billing import payments, purchases
from billing.models import StripeEvent

# Seconds that a signature may be old: a recorded request can't be sent again later.
TOLERANCE_S = 300
LARGEST = 256 * 1024

TYPES = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "charge.refunded",
    "charge.refund.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
]


class Closed(Exception):
    """There is no secret to check webhooks with."""


class Forged(Exception):
    """Not signed by Stripe, or too long ago, or not for us; the message says which."""


@dataclass(frozen=True, slots=True)
class Event:
    """What an event is about: a session, or a payment whose session is to be found."""

    id: str
    type: str
    session: str | None
    intent: str | None


def opened(body: bytes, signature: str) -> Event | None:
    """The event in a webhook's body; None for one that doesn't concern us.

    Raises Closed and Forged.
    """
    if not settings.STRIPE_WEBHOOK_SECRETS or not payments.configured():
        raise Closed
    if not any(signed(body, signature, secret) for secret in settings.STRIPE_WEBHOOK_SECRETS):
        raise Forged("Its signature is missing, wrong or older than five minutes.")
    try:
        event = json.loads(body)
        live, found = event["livemode"], event_of(event)
    except (ValueError, KeyError, TypeError) as error:
        raise Forged("It is signed, but no event of Stripe's.") from error
    if live is not payments.live():
        raise Forged("It is of Stripe's other mode (test or live).")
    return found


def signed(body: bytes, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE_S)
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
    return True


def event_of(event: dict[str, Any]) -> Event | None:
    if event["type"] not in TYPES:
        return None
    about = event["data"]["object"]
    if about["object"] == "checkout.session":
        return Event(event["id"], event["type"], about["id"], None)
    return Event(event["id"], event["type"], None, about.get("payment_intent"))


def handled(event: Event) -> bool:
    return StripeEvent.objects.filter(id=event.id).exists()


def handle(event: Event) -> None:
    """Act on an event, unless that was done; raises payments.Unavailable."""
    if handled(event):
        return
    session = event.session
    if session is None and event.intent is not None:
        session = payments.session_of_intent(event.intent)
    if session is None:
        # A payment of the same Stripe account that is not for credit.
        purchases.record(event.id, event.type)
        return
    try:
        payment = payments.read(session)
    except payments.UnknownSession:
        purchases.record(event.id, event.type)
        return
    purchases.settle(payment, event=(event.id, event.type))
