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
        try:
            purchases.fulfil(purchase.session)
        except (payments.UnknownSession, payments.Refused) as error:
            yield f"purchase {purchase.id}: Stripe knows no session {purchase.session} ({error})."
    for purchase in Purchase.objects.filter(state=Purchase.State.MISMATCHED):
        yield f"purchase {purchase.id}: {purchase.note}"


def finish_refunds(grace: timedelta) -> Iterator[str]:
    """Ask again for refunds of ours of which Stripe has not said yes or no."""
    unsent = Reversal.objects.filter(
        stripe_id=None, stage=Reversal.Stage.TAKEN, created_at__lt=timezone.now() - grace
    ).select_related("purchase")
    for reversal in list(unsent):
        # Stripe forgets an idempotency key after a day, but not the refund.
        if reversal.purchase.session is not None:
            purchases.fulfil(reversal.purchase.session)
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
    for intent in payments.intents_since(since):
        purchase = purchase_of(intent)
        if purchase is not None:
            looked.add(purchase.id)
            if differs(purchase, intent):
                yield from look_again(purchase)
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


def differs(purchase: Purchase, intent: dict[str, Any]) -> bool:
    """Whether a payment's short form leaves a doubt; a dispute always does."""
    charge = intent.get("latest_charge") or {}
    received = (intent.get("amount_received") or 0) * MICROS_PER_CENT
    refunded = (charge.get("amount_refunded") or 0) * MICROS_PER_CENT
    ours = (credited(purchase), reversals.standing(purchase))
    return ours != (received, refunded) or bool(charge.get("disputed"))


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
    purchases.settle(payment)
    purchase.refresh_from_db()
    ours, theirs = credited(purchase), payment.received
    if ours != theirs and purchase.state != Purchase.State.MISMATCHED:
        yield f"{name}: Stripe received ${usd(theirs):g}, ${usd(ours):g} was credited."
    ours, theirs = reversals.standing(purchase, sent=True), payment.reversed
    if ours != theirs and credited(purchase):
        yield f"{name}: ${usd(theirs):g} went back at Stripe, ${usd(ours):g} in the books."
