"""What Stripe says of a payment, read anew each time: events only say that it is worth a look.

So their order and number don't matter, and nothing is believed that a request brings along.
No database connection is kept while Stripe thinks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import stripe
from django.conf import settings
from django.db import connection

from billing.models import Purchase, Reversal

TIMEOUT_S = 10
RETRIES = 2
PAGE = 100
MICROS_PER_CENT = 10_000
CURRENCY = "usd"

# Refunds in any other state have gone to the customer, or will.
UNDONE_REFUNDS = ("failed", "canceled")
# How disputes end; an inquiry ("warning_…") that ends took nothing.
WON = ("won", "warning_closed", "prevented")
LOST = ("lost",)


class UnknownSession(LookupError):
    """Stripe has no such Checkout Session."""


class Unavailable(Exception):
    """Stripe does not answer, or not with sense; the same can be asked again later."""


class Refused(Exception):
    """Stripe refuses what we ask, and will again; its message is for the operator."""


@dataclass(frozen=True, slots=True)
class Refund:
    id: str
    amount: int
    # Our reversal, where we asked for the refund.
    reversal: str | None
    stage: Reversal.Stage


@dataclass(frozen=True, slots=True)
class Dispute:
    id: str
    amount: int
    stage: Reversal.Stage
    reason: str
    # None while it is open.
    won: bool | None


@dataclass(frozen=True, slots=True)
class Payment:
    """A Checkout Session and all that became of it; amounts in micro-dollars."""

    session: str
    url: str
    state: Purchase.State
    amount: int
    currency: str
    live: bool
    # Our purchase, as we told Stripe.
    purchase: str | None
    intent: str | None
    receipt_url: str
    refunds: tuple[Refund, ...]
    disputes: tuple[Dispute, ...]

    @property
    def received(self) -> int:
        return self.amount if self.state == Purchase.State.PAID else 0

    @property
    def reversed(self) -> int:
        """What went back to who paid, or is on its way."""
        everything: list[Refund | Dispute] = [*self.refunds, *self.disputes]
        return sum(each.amount for each in everything if each.stage == Reversal.Stage.TAKEN)


def configured() -> bool:
    return bool(settings.STRIPE_SECRET_KEY)


def live() -> bool:
    """Whether our key moves real money."""
    return settings.STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))


@lru_cache(maxsize=1)
def client_for(key: str, base: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        base_addresses={"api": base} if base else None,
        max_network_retries=RETRIES,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
    )


def client() -> stripe.StripeClient:
    if not connection.in_atomic_block:
        connection.close()
    return client_for(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


def translated(error: stripe.StripeError) -> Exception:
    """`Refused` for what Stripe answered with a definite no, else `Unavailable`."""
    refusals = (stripe.InvalidRequestError, stripe.CardError, stripe.IdempotencyError)
    # 409: the same request is under way in another process.
    definite = isinstance(error, refusals) and error.http_status != 409
    return (Refused if definite else Unavailable)(error.user_message or str(error))


def create_session(purchase: Purchase, base_url: str) -> tuple[str, str]:
    """(id, url) of the page on which the purchase is paid; the same for the same purchase."""
    try:
        session = client().v1.checkout.sessions.create(
            {
                "mode": "payment",
                # Asked and paid, refunded and disputed in one currency: ours.
                "adaptive_pricing": {"enabled": False},
                "client_reference_id": str(purchase.id),
                "metadata": {"purchase": str(purchase.id)},
                "payment_intent_data": {"metadata": {"purchase": str(purchase.id)}},
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {
                            "currency": CURRENCY,
                            "unit_amount": purchase.amount // MICROS_PER_CENT,
                            "product_data": {"name": "API credit"},
                        },
                    }
                ],
                "success_url": f"{base_url}/dashboard/billing/success"
                "?session_id={CHECKOUT_SESSION_ID}",
                "cancel_url": f"{base_url}/dashboard/billing/",
            },
            {"idempotency_key": f"purchase:{purchase.id}"},
        )
    except stripe.StripeError as error:
        raise translated(error) from error
    return session.id, session.url or ""


def end_session(session_id: str) -> None:
    """Let nobody pay on this page any more; nothing happens where somebody has, or it is over.

    Raises Unavailable.
    """
    try:
        client().v1.checkout.sessions.expire(session_id)
    except stripe.InvalidRequestError:
        return
    except stripe.StripeError as error:
        raise translated(error) from error


def create_refund(reversal: Reversal, intent: str) -> str:
    """Ask Stripe to send the money back, once however often we ask; the refund's id."""
    try:
        refund = client().v1.refunds.create(
            {
                "payment_intent": intent,
                "amount": reversal.amount // MICROS_PER_CENT,
                "metadata": {"reversal": str(reversal.id)},
            },
            {"idempotency_key": f"refund:{reversal.id}"},
        )
    except stripe.StripeError as error:
        raise translated(error) from error
    return refund.id


def read(session_id: str) -> Payment:
    """Everything about the payment of a Checkout Session, from Stripe.

    Raises UnknownSession, Refused and Unavailable.
    """
    api = client().v1
    try:
        session = api.checkout.sessions.retrieve(
            session_id, {"expand": ["payment_intent.latest_charge"]}
        ).to_dict()
        intent = session.get("payment_intent") or {}
        of_payment: Any = {"payment_intent": intent.get("id"), "limit": PAGE}
        refunds = everything(api.refunds.list(of_payment)) if intent else []
        disputes = everything(api.disputes.list(of_payment)) if intent else []
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            raise UnknownSession(session_id) from None
        raise translated(error) from error
    except stripe.StripeError as error:
        raise translated(error) from error
    for each in (*refunds, *disputes):
        if each["currency"] != session["currency"]:
            # How many of our dollars that is, an operator has to say.
            raise Refused(f"{each['id']} is in {each['currency']!r}.")
    charge = intent.get("latest_charge") or {}
    return Payment(
        session=session["id"],
        url=session.get("url") or "",
        state=state_of(session, intent),
        amount=(session.get("amount_total") or 0) * MICROS_PER_CENT,
        currency=session.get("currency") or "",
        live=bool(session.get("livemode")),
        purchase=(session.get("metadata") or {}).get("purchase"),
        intent=intent.get("id"),
        receipt_url=charge.get("receipt_url") or "",
        refunds=tuple(map(refund_of, refunds)),
        disputes=tuple(map(dispute_of, disputes)),
    )


def state_of(session: dict[str, Any], intent: dict[str, Any]) -> Purchase.State:
    if session["status"] == "expired":
        return Purchase.State.EXPIRED
    if session["status"] == "open":
        return Purchase.State.OPEN
    if session["payment_status"] == "paid":
        return Purchase.State.PAID
    if intent.get("status") in ("requires_payment_method", "canceled"):
        return Purchase.State.FAILED
    return Purchase.State.PROCESSING


def refund_of(refund: dict[str, Any]) -> Refund:
    undone = refund["status"] in UNDONE_REFUNDS
    return Refund(
        id=refund["id"],
        amount=refund["amount"] * MICROS_PER_CENT,
        reversal=(refund.get("metadata") or {}).get("reversal"),
        stage=Reversal.Stage.UNDONE if undone else Reversal.Stage.TAKEN,
    )


def dispute_of(dispute: dict[str, Any]) -> Dispute:
    """Its balance transactions are none, one (withdrawn) or two (reinstated)."""
    moves = len(dispute.get("balance_transactions") or ())
    status = dispute["status"]
    stage = (Reversal.Stage.SEEN, Reversal.Stage.TAKEN, Reversal.Stage.UNDONE)[min(moves, 2)]
    return Dispute(
        id=dispute["id"],
        amount=dispute["amount"] * MICROS_PER_CENT,
        stage=stage,
        reason=dispute.get("reason") or "",
        won=True if status in WON else False if status in LOST else None,
    )


def session_of_intent(intent: str) -> str | None:
    """The Checkout Session of a payment; None for a payment that came another way."""
    try:
        found = client().v1.checkout.sessions.list({"payment_intent": intent, "limit": 1})
    except stripe.StripeError as error:
        raise translated(error) from error
    return found.data[0].id if found.data else None


def events_since(types: list[str], seconds: int) -> Iterator[dict[str, Any]]:
    """Stripe's events of these types since a moment (Unix time), newest first."""
    try:
        found = client().v1.events.list(
            {"types": types, "created": {"gte": seconds}, "limit": PAGE}
        )
        for event in found.auto_paging_iter():
            yield event.to_dict()
    except stripe.StripeError as error:
        raise translated(error) from error


def intents_since(seconds: int) -> Iterator[dict[str, Any]]:
    """Payments since a moment (Unix time), newest first, with their charges."""
    try:
        found = client().v1.payment_intents.list(
            {"created": {"gte": seconds}, "limit": PAGE, "expand": ["data.latest_charge"]}
        )
        for intent in found.auto_paging_iter():
            yield intent.to_dict()
    except stripe.StripeError as error:
        raise translated(error) from error


def everything(listed: Any) -> list[dict[str, Any]]:
    return [each.to_dict() for each in listed.auto_paging_iter()]
