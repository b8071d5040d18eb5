"""Buying credit: the purchase's row, Stripe's page, and the credit once Stripe was paid.

Webhook, success page and reconciler all end in `settle`, as often and in whatever order they
come: it brings a purchase and the ledger to what Stripe says of the payment.
"""

import logging
import uuid
from contextlib import suppress

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Sum
from django.db.models.functions import Now

from billing import ledger, payments, reversals
from billing.models import Account, Purchase, Reversal, StripeEvent, Transfer
from billing.money import usd
from billing.payments import Payment

log = logging.getLogger(__name__)

# Of the first purchase, on top.
BONUS_PERCENT = 50
State = Purchase.State
# A state gives way to later ones only: what was read a moment ago may arrive after what is true.
RANK = {
    State.OPEN: 0,
    State.PROCESSING: 1,
    State.EXPIRED: 2,
    State.MISMATCHED: 3,
    State.FAILED: 4,
    State.PAID: 5,
}


def bonus_for(owner_id: int, amount: int) -> int:
    """What a purchase that is paid now gets on top; 0 after the account's first."""
    had = Transfer.objects.filter(
        code="bonus", credit__owner=owner_id, credit__code=Account.Code.USER
    )
    return 0 if had.exists() else amount * BONUS_PERCENT // 100


def checkout(owner_id: int, amount: int, base_url: str) -> Purchase:
    """A purchase of `amount` micro-dollars with the page to pay it on (`url`).

    The row comes first, so no payment can be without one. Raises payments.Unavailable and
    payments.Refused; the row then stays without a session and is given up by `give_up`.
    """
    ledger.open_account(owner_id)
    purchase = Purchase.objects.create(owner_id=owner_id, amount=amount)
    purchase.session, purchase.url = payments.create_session(purchase, base_url)
    # A webhook may have been here already.
    Purchase.objects.filter(id=purchase.id).update(session=purchase.session, url=purchase.url)
    return purchase


def fulfil(session_id: str) -> Purchase | None:
    """Bring our books to what Stripe says of this session now; None if it isn't ours.

    Raises payments.UnknownSession and payments.Unavailable.
    """
    return settle(payments.read(session_id))


def settle(payment: Payment, event: tuple[str, str] | None = None) -> Purchase | None:
    """Credit what was paid and take back what was reversed, each once; `event` (id, type) is
    recorded with it."""
    with transaction.atomic():
        purchase = find(payment)
        if purchase is None:
            log.warning("Stripe's session %s belongs to no purchase of ours.", payment.session)
        else:
            bring_up_to_date(purchase, payment)
        if event is not None:
            record(*event)
    return purchase


def record(event_id: str, kind: str) -> None:
    StripeEvent.objects.bulk_create([StripeEvent(id=event_id, type=kind)], ignore_conflicts=True)


def find(payment: Payment) -> Purchase | None:
    """The purchase that a session is for, locked."""
    named = known_id(payment.purchase)
    return Purchase.objects.select_for_update().filter(id=named).first()


def bring_up_to_date(purchase: Purchase, payment: Payment) -> None:
    if wrong := mismatch(purchase, payment):
        # Nothing is credited. Once the operator has sent the money back, it is over.
        if payment.received > payment.reversed:
            log.error("Purchase %s: %s", purchase.id, wrong)
            advance(purchase, State.MISMATCHED, note=wrong)
        elif payment.received:
            advance(purchase, State.FAILED, note=wrong)
        return
    purchase.session = payment.session
    purchase.intent = payment.intent
    purchase.receipt_url = payment.receipt_url or purchase.receipt_url
    purchase.save(update_fields=["session", "intent", "receipt_url"])
    if payment.state == State.PAID and purchase.state != State.PAID:
        pay_in(purchase)
    else:
        advance(purchase, payment.state)
    reversals.bring_up_to_date(purchase, payment)


def mismatch(purchase: Purchase, payment: Payment) -> str | None:
    """What is wrong with a session that claims to be this purchase's."""
    if purchase.session not in (None, payment.session):
        return f"Stripe has a second session for it: {payment.session}."
    if payment.live != payments.live():
        return "Its session is of Stripe's other mode (test or live)."
    if payment.currency != payments.CURRENCY:
        return f"It was paid in {payment.currency!r}, not in {payments.CURRENCY!r}."
    if payment.amount != purchase.amount:
        return f"Stripe asked for ${usd(payment.amount):g}, not for ${usd(purchase.amount):g}."
    return None


def advance(purchase: Purchase, state: Purchase.State, note: str = "") -> None:
    if RANK[state] > RANK[State(purchase.state)]:
        purchase.state = state
        purchase.note = note[:300]
        purchase.save(update_fields=["state", "note"])


def pay_in(purchase: Purchase) -> None:
    """The credit and, for the account's first purchase, the bonus."""
    ledger.credit(
        purchase.owner_id,
        purchase.amount,
        Account.Code.STRIPE_CLEARING,
        code="topup",
        ref=str(purchase.id),
    )
    # The account is locked by now, so two first purchases can't both find that there was none.
    if bonus := bonus_for(purchase.owner_id, purchase.amount):
        ledger.credit(
            purchase.owner_id,
            bonus,
            Account.Code.BONUS_EXPENSE,
            code="bonus",
            ref=str(purchase.id),
            note="first purchase",
        )
    Purchase.objects.filter(id=purchase.id).update(
        state=State.PAID, bonus=bonus, paid_at=Now(), note=""
    )
    purchase.refresh_from_db()
    log.info("Purchase %s was paid: $%s.", purchase.id, usd(purchase.amount))


def of(owner_id: int, *, limit: int, after: str | None = None) -> list[Purchase] | None:
    """A user's newest purchases, each with what went back of it (`reversed`) and whether a dispute
    about it is open or lost (`disputed`); None where `after` is none of them."""
    mine = Purchase.objects.filter(owner_id=owner_id)
    disputes = Reversal.objects.filter(purchase=OuterRef("id"), kind=Reversal.Kind.DISPUTE)
    rows = mine.annotate(
        reversed=Sum("reversals__amount", filter=Q(reversals__stage=Reversal.Stage.TAKEN)),
        disputed=Exists(disputes.exclude(stage=Reversal.Stage.UNDONE)),
    ).order_by("-created_at", "-id")
    if after is not None:
        last = mine.filter(id=known_id(after)).first()
        if last is None:
            return None
        earlier = Q(created_at__lt=last.created_at)
        rows = rows.filter(earlier | Q(created_at=last.created_at, id__lt=last.id))
    return list(rows[:limit])


def known_id(text: str | None) -> uuid.UUID:
    """The id that a text spells, or one that nothing has."""
    try:
        return uuid.UUID(text or "")
    except ValueError:
        return uuid.UUID(int=0)


def give_up(purchase: Purchase) -> None:
    """A purchase whose session was never made: nobody can pay it."""
    Purchase.objects.filter(id=purchase.id, session=None, state=State.OPEN).update(
        state=State.EXPIRED
    )


def call_off(owner_id: int) -> None:
    """End the checkouts of somebody who leaves: nothing is to be paid for nobody.

    What Stripe does not know or refuses is the reconciler's to name. Raises payments.Unavailable.
    """
    open_ones = Purchase.objects.filter(owner_id=owner_id, state=State.OPEN).exclude(session=None)
    for purchase in list(open_ones):
        assert purchase.session is not None
        payments.end_session(purchase.session)
        with suppress(payments.UnknownSession, payments.Refused):
            fulfil(purchase.session)
