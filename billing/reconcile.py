"""Our books against Stripe's: what was missed is made up for, what differs is named."""

import logging
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from billing import events, ledger, payments, purchases, reversals
from billing.models import Purchase, Reversal, StripeEvent
from billing.money import usd
from billing.payments import MICROS_PER_CENT

log = logging.getLogger(__name__)

DAYS = 7
# A checkout that just now talks to Stripe is left to itself.
GRACE = timedelta(minutes=5)
# Stripe ends a session after a day, so after two nobody can pay an open one.
SESSION_LIFETIME = timedelta(days=2)
UNSETTLED = (Purchase.State.OPEN, Purchase.State.PROCESSING, Purchase.State.MISMATCHED)


def run(days: int = DAYS, grace: timedelta = GRACE) -> list[str]:
    """Catch up with Stripe over the last `days`; what still differs, a sentence each.

    What is younger than `grace` may be under way and is left alone. Without Stripe's key only
    debts are collected. Raises payments.Unavailable.
    """
    ledger.collect_all()
    if not payments.configured():
        return []
    since = int(time.time()) - days * 86_400
    problems = [*replay(since), *settle_open(grace), *finish_refunds(grace), *compare(since)]
    StripeEvent.objects.filter(handled_at__lt=timezone.now() - timedelta(days=90)).delete()
    return problems


def replay(since: int) -> Iterator[str]:
    """Act on the events whose webhooks never came, the oldest first."""
    missed = [event for event in payments.events_since(events.TYPES, since) if not known(event)]
    for event in reversed(missed):
        found = events.event_of(event)
        if found is None:
            continue
        log.warning("Webhook %s of %s was missed.", found.type, found.id)
        try:
            events.handle(found)
        except payments.Refused as refusal:
            yield f"event {found.id}: {refusal}"


def known(event: dict[str, Any]) -> bool:
    return StripeEvent.objects.filter(id=event["id"]).exists()


def settle_open(grace: timedelta) -> Iterator[str]:
    """Ask after each purchase that is not settled."""
    unsettled = Purchase.objects.filter(
        state__in=UNSETTLED, created_at__lt=timezone.now() - grace
    ).order_by("created_at")
    for purchase in list(unsettled):
        if purchase.session is None:
            if purchase.created_at < timezone.now() - SESSION_LIFETIME:
                purchases.give_up(purchase)
            continue
        yield from settled(purchase)
    for purchase in Purchase.objects.filter(state=Purchase.State.MISMATCHED):
        yield f"purchase {purchase.id}: {purchase.note}"


def settled(purchase: Purchase) -> Iterator[str]:
    """Settle a purchase that has a session; why that can't be done."""
    assert purchase.session is not None
    try:
        purchases.fulfil(purchase.session)
    except payments.UnknownSession:
        yield f"purchase {purchase.id}: Stripe knows no session {purchase.session}."
    except payments.Refused as refusal:
        yield f"purchase {purchase.id}: {refusal}"


def finish_refunds(grace: timedelta) -> Iterator[str]:
    """Ask again for refunds of ours of which Stripe has not said yes or no."""
    unsent = Reversal.objects.filter(
        stripe_id=None, stage=Reversal.Stage.TAKEN, created_at__lt=timezone.now() - grace
    ).select_related("purchase")
    for reversal in list(unsent):
        # Stripe forgets an idempotency key after a day, but not the refund.
        if reversal.purchase.session is not None:
            yield from settled(reversal.purchase)
            reversal.refresh_from_db()
        if reversal.stripe_id is None and reversal.stage == Reversal.Stage.TAKEN:
            try:
                reversals.send(reversal)
            except payments.Refused as refusal:
                log.warning("Stripe refused refund %s: %s", reversal.id, refusal)
                yield f"refund {reversal.id} was refused by Stripe and credited again: {refusal}"


def compare(since: int) -> Iterator[str]:
    """Received and refunded of each payment since a moment, against our books."""
    looked: set[uuid.UUID] = set()
    first = Purchase.objects.order_by("created_at").first()
    for intent in payments.intents_since(since):
        purchase = purchase_of(intent)
        if purchase is not None:
            looked.add(purchase.id)
            if differs(purchase, intent):
                yield from look_again(purchase)
        elif first is not None and intent["created"] >= int(first.created_at.timestamp()):
            yield from missing(intent)
    # What we call paid and Stripe did not list: older payments, or none at all.
    start = datetime.fromtimestamp(since, UTC)
    paid = Purchase.objects.filter(state=Purchase.State.PAID, paid_at__gte=start)
    for purchase in list(paid):
        if purchase.id not in looked:
            yield from look_again(purchase)


def purchase_of(intent: dict[str, Any]) -> Purchase | None:
    """The purchase that a payment is for; None for what isn't ours."""
    named = purchases.known_id((intent.get("metadata") or {}).get("purchase"))
    return Purchase.objects.filter(id=named).first()


def missing(intent: dict[str, Any]) -> Iterator[str]:
    """A payment for a purchase that the books have lost, as by a backup that was put back."""
    named = (intent.get("metadata") or {}).get("purchase")
    received, refunded = moved(intent)
    if named and received > refunded:
        yield (
            f"payment {intent['id']}: Stripe received ${usd(received - refunded):g} for purchase "
            f"{named}, which is not in the books."
        )


def moved(intent: dict[str, Any]) -> tuple[int, int]:
    """What Stripe received and refunded of a payment, in micro-dollars."""
    charge = intent.get("latest_charge") or {}
    received = (intent.get("amount_received") or 0) * MICROS_PER_CENT
    return received, (charge.get("amount_refunded") or 0) * MICROS_PER_CENT


def differs(purchase: Purchase, intent: dict[str, Any]) -> bool:
    """Whether a payment's short form leaves a doubt; a dispute always does."""
    ours = (credited(purchase), reversals.standing(purchase))
    disputed = (intent.get("latest_charge") or {}).get("disputed")
    return ours != moved(intent) or bool(disputed)


def credited(purchase: Purchase) -> int:
    return purchase.amount if purchase.state == Purchase.State.PAID else 0


def look_again(purchase: Purchase) -> Iterator[str]:
    """Settle a purchase from all that Stripe says of it, and compare."""
    name = f"purchase {purchase.id}"
    if purchase.session is None:
        yield f"{name} is {purchase.state} without a session."
        return
    try:
        payment = payments.read(purchase.session)
    except payments.UnknownSession:
        yield f"{name}: Stripe knows no session {purchase.session}."
        return
    except payments.Refused as refusal:
        yield f"{name}: {refusal}"
        return
    purchases.settle(payment)
    purchase.refresh_from_db()
    ours, theirs = credited(purchase), payment.received
    if ours != theirs and purchase.state != Purchase.State.MISMATCHED:
        yield f"{name}: Stripe received ${usd(theirs):g}, ${usd(ours):g} was credited."
    ours, theirs = reversals.standing(purchase, sent=True), payment.reversed
    if ours != theirs and credited(purchase):
        yield f"{name}: ${usd(theirs):g} went back at Stripe, ${usd(ours):g} in the books."
