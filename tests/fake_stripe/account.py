"""A Stripe account that lives in memory: what its API, its customers and its banks do to it.

Amounts are in cents, as at Stripe. Each change records the events that Stripe would send; who
sends them, and how badly, is `delivery`'s business. Objects have the fields that we read, in
Stripe's shapes.
"""

import copy
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import stripe

Object = dict[str, Any]


class Refusal(Exception):
    """An error as Stripe's API answers it."""

    def __init__(self, status: int, message: str, code: str | None = None, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {
                "type": kind or "invalid_request_error",
                "message": message,
                **({"code": code} if code else {}),
            }
        }


class StripeAccount:
    def __init__(self, pay_base: str = "https://checkout.example") -> None:
        self.pay_base = pay_base
        self.lock = threading.RLock()
        self.objects: dict[str, Object] = {}
        self.events: list[Object] = []
        self.answered: dict[str, tuple[str, int, Object]] = {}
        self.listeners: list[Callable[[Object], None]] = []
        # How many answers get lost after the work was done; and how many requests before it.
        self.lose_answers = 0
        self.lose_requests = 0
        self.calls = 0

    # What everything is made of

    def new(self, prefix: str, kind: str, **fields: Any) -> Object:
        made: Object = {
            "id": f"{prefix}_{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "livemode": False,
            "metadata": {},
            **fields,
        }
        self.objects[made["id"]] = made
        return made

    def get(self, name: str, kind: str) -> Object:
        found = self.objects.get(name)
        if found is None or found["object"] != kind:
            raise Refusal(404, f"No such {kind}: '{name}'", "resource_missing")
        return found

    def all(self, kind: str, **where: Any) -> list[Object]:
        """Newest first, as all of Stripe's lists."""
        found = [
            each
            for each in self.objects.values()
            if each["object"] == kind and all(each.get(k) == v for k, v in where.items())
        ]
        return found[::-1]

    def emit(self, kind: str, about: Object) -> Object:
        event = {
            "id": f"evt_{secrets.token_hex(12)}",
            "object": "event",
            "type": kind,
            "created": int(time.time()),
            "api_version": stripe.api_version,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "data": {"object": copy.deepcopy(about)},
        }
        self.events.append(event)
        for listener in self.listeners:
            listener(event)
        return event

    def once(
        self, key: str | None, fingerprint: str, work: Callable[[], tuple[int, Object]]
    ) -> tuple[int, Object, bool]:
        """Idempotency: (status, body, replayed)."""
        digest = hashlib.sha256(fingerprint.encode()).hexdigest()
        with self.lock:
            if key is not None and key in self.answered:
                asked, status, body = self.answered[key]
                if asked != digest:
                    raise Refusal(
                        400,
                        "Keys for idempotent requests can only be used with the same parameters "
                        "they were first used with.",
                        kind="idempotency_error",
                    )
                return status, body, True
            status, body = work()
            if key is not None:
                self.answered[key] = (digest, status, copy.deepcopy(body))
            return status, body, False

    # What the API does

    def create_session(self, asked: Object) -> Object:
        cents = sum(
            int(item["price_data"]["unit_amount"]) * int(item.get("quantity", 1))
            for item in asked["line_items"].values()
        )
        session = self.new(
            "cs_test",
            "checkout.session",
            mode=asked["mode"],
            status="open",
            payment_status="unpaid",
            amount_subtotal=cents,
            amount_total=cents,
            currency=asked["line_items"]["0"]["price_data"]["currency"],
            metadata=asked.get("metadata", {}),
            client_reference_id=asked.get("client_reference_id"),
            success_url=asked["success_url"],
            cancel_url=asked.get("cancel_url"),
            adaptive_pricing=asked.get("adaptive_pricing"),
            payment_intent=None,
            customer=None,
            expires_at=int(time.time()) + 86_400,
        )
        session["url"] = f"{self.pay_base}/pay/{session['id']}"
        session["of_intent"] = asked.get("payment_intent_data", {}).get("metadata", {})
        return session

    def end_session(self, session_id: str) -> Object:
        if self.get(session_id, "checkout.session")["status"] != "open":
            raise Refusal(400, 'Only Checkout Sessions with a status in ["open"] can be expired.')
        self.expire(session_id)
        return self.objects[session_id]

    def create_refund(self, asked: Object) -> Object:
        intent = self.get(asked["payment_intent"], "payment_intent")
        charge = self.objects[intent["latest_charge"]]
        left = charge["amount"] - charge["amount_refunded"]
        cents = int(asked.get("amount", left))
        if charge["disputed"]:
            raise Refusal(400, "This charge has been charged back.", "charge_disputed")
        if not 0 < cents <= left:
            raise Refusal(
                400, "Refund amount is greater than unrefunded amount.", "amount_too_large"
            )
        charge["amount_refunded"] += cents
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        refund = self.new(
            "re",
            "refund",
            amount=cents,
            currency="usd",
            charge=charge["id"],
            payment_intent=intent["id"],
            status=asked.get("status", "succeeded"),
            reason=asked.get("reason"),
            metadata=asked.get("metadata", {}),
        )
        self.emit("refund.created", refund)
        self.emit("charge.refunded", charge)
        return refund

    def argue(self, dispute_id: str, asked: Object) -> Object:
        """Evidence against a dispute, of which Stripe's test mode knows one that wins."""
        dispute = self.get(dispute_id, "dispute")
        if asked.get("evidence", {}).get("uncategorized_text") == "winning_evidence":
            self.reinstate(dispute_id)
            self.close(dispute_id, won=True)
        return dispute

    # What customers do

    def pay(self, session_id: str, *, delayed: bool = False) -> Object:
        """The customer pays; `delayed`: by a method whose money comes days later."""
        with self.lock:
            session = self.get(session_id, "checkout.session")
            if session["status"] != "open":
                raise Refusal(400, "This session is over.")
            intent = self.new(
                "pi",
                "payment_intent",
                amount=session["amount_total"],
                amount_received=0,
                currency=session["currency"],
                status="processing",
                latest_charge=None,
                metadata=session["of_intent"],
            )
            session.update(status="complete", payment_intent=intent["id"])
            if not delayed:
                self.charge(session, intent)
            self.emit("checkout.session.completed", session)
            return session

    def charge(self, session: Object, intent: Object) -> None:
        charge = self.new(
            "ch",
            "charge",
            amount=intent["amount"],
            amount_refunded=0,
            refunded=False,
            disputed=False,
            paid=True,
            status="succeeded",
            currency=intent["currency"],
            payment_intent=intent["id"],
        )
        charge["receipt_url"] = f"{self.pay_base}/receipt/{charge['id']}"
        intent.update(
            status="succeeded", amount_received=intent["amount"], latest_charge=charge["id"]
        )
        session["payment_status"] = "paid"

    def arrive(self, session_id: str) -> Object:
        """The money of a delayed payment comes."""
        with self.lock:
            session = self.get(session_id, "checkout.session")
            self.charge(session, self.get(session["payment_intent"], "payment_intent"))
            return self.emit("checkout.session.async_payment_succeeded", session)

    def bounce(self, session_id: str) -> Object:
        """It doesn't."""
        with self.lock:
            session = self.get(session_id, "checkout.session")
            intent = self.get(session["payment_intent"], "payment_intent")
            intent["status"] = "requires_payment_method"
            return self.emit("checkout.session.async_payment_failed", session)

    def expire(self, session_id: str) -> Object:
        with self.lock:
            session = self.get(session_id, "checkout.session")
            session["status"] = "expired"
            return self.emit("checkout.session.expired", session)

    # What banks do

    def fail_refund(self, refund_id: str) -> Object:
        with self.lock:
            refund = self.get(refund_id, "refund")
            refund.update(status="failed", failure_reason="lost_or_stolen_card")
            charge = self.objects[refund["charge"]]
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
            self.emit("charge.refund.updated", refund)
            return self.emit("refund.failed", refund)

    def dispute(self, intent_id: str, cents: int | None = None) -> Object:
        """The customer complains to the bank; nothing is withdrawn yet."""
        with self.lock:
            intent = self.get(intent_id, "payment_intent")
            charge = self.objects[intent["latest_charge"]]
            charge["disputed"] = True
            left = charge["amount"] - charge["amount_refunded"]
            dispute = self.new(
                "dp",
                "dispute",
                # A bank does not ask whether all of it was refunded before.
                amount=cents or left or charge["amount"],
                currency="usd",
                charge=charge["id"],
                payment_intent=intent_id,
                reason="fraudulent",
                status="needs_response",
                balance_transactions=[],
                is_charge_refundable=False,
            )
            self.emit("charge.dispute.created", dispute)
            return dispute

    def withdraw(self, dispute_id: str) -> Object:
        return self.move(dispute_id, -1, "charge.dispute.funds_withdrawn")

    def reinstate(self, dispute_id: str) -> Object:
        return self.move(dispute_id, +1, "charge.dispute.funds_reinstated")

    def move(self, dispute_id: str, sign: int, kind: str) -> Object:
        with self.lock:
            dispute = self.get(dispute_id, "dispute")
            transaction = {
                "id": f"txn_{secrets.token_hex(12)}",
                "object": "balance_transaction",
                "amount": sign * dispute["amount"],
                "currency": "usd",
                "type": "adjustment",
            }
            dispute["balance_transactions"] = [*dispute["balance_transactions"], transaction]
            return self.emit(kind, dispute)

    def close(self, dispute_id: str, *, won: bool) -> Object:
        with self.lock:
            dispute = self.get(dispute_id, "dispute")
            dispute["status"] = "won" if won else "lost"
            return self.emit("charge.dispute.closed", dispute)

    # For tests

    def intent_of(self, session_id: str) -> str:
        intent: str = self.get(session_id, "checkout.session")["payment_intent"]
        return intent

    def received(self, **where: Any) -> int:
        """Cents that were paid and stayed: payments less refunds and lost money of disputes.

        Of all payments, or of `payment_intent=` one.
        """
        charges = self.all("charge", **where)
        withdrawn: int = sum(
            -move["amount"]
            for dispute in self.all("dispute", **where)
            for move in dispute["balance_transactions"]
        )
        kept: int = sum(each["amount"] - each["amount_refunded"] for each in charges)
        return kept - withdrawn
