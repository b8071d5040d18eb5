"""Accepting a job: idempotency, hold and row in one statement, then the bell."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone
from psycopg.types.json import Jsonb

from billing import ledger
from billing.money import usd
from modelpilot import prepared
from modelpilot.errors import ApiError
from modelpilot.jobs import journal, sql
from modelpilot.jobs.models import Job

IDEMPOTENCY_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Order:
    """A job as it is asked for; `price` is the most it can cost, in micro-dollars."""

    id: uuid.UUID
    owner: int
    permission: str
    route: str
    request_id: str
    kind: str
    model: str
    deployment: str
    request: dict[str, Any]
    price: int
    deadline_s: int
    stream: bool = False
    watched: bool = False
    idempotency_key: str | None = None
    body_digest: bytes | None = None
    webhook: str | None = None


def submit(order: Order) -> uuid.UUID:
    """Record the job and hold its price; the caller rings the bell afterwards.

    Returns the job's id: `order.id`, or that of the earlier job under the same
    idempotency key. Raises ApiError 402 `insufficient_quota` and 422
    `idempotency_key_reused`, 403 `account_frozen`; then nothing was written.
    """
    while True:
        try:
            if insert(order):
                journal.accepted(
                    order.id,
                    request_id=order.request_id,
                    account=order.owner,
                    kind=order.kind,
                    model=order.model,
                    price=order.price,
                )
                return order.id
        except IntegrityError:
            pass  # the idempotency key is taken, perhaps this very millisecond
        if earlier := find_earlier(order):
            return earlier
        if not released_old_key(order):
            raise refusal(order)


def insert(order: Order) -> bool:
    parameters = {
        **{name: getattr(order, name) for name in Order.__slots__},
        "request": Jsonb(order.request),
        "ref": str(order.id),
    }
    return bool(prepared.run(sql.SUBMIT, parameters))


def find_earlier(order: Order) -> uuid.UUID | None:
    """The job that this idempotency key made within its lifetime."""
    if order.idempotency_key is None:
        return None
    row = (
        Job.objects.filter(
            owner=order.owner,
            route=order.route,
            idempotency_key=order.idempotency_key,
            created_at__gt=timezone.now() - IDEMPOTENCY_LIFETIME,
        )
        .values_list("id", "body_digest")
        .first()
    )
    if row is None:
        return None
    job_id, body_digest = row
    if bytes(body_digest or b"") != order.body_digest:
        raise ApiError(
            422,
            "idempotency_key_reused",
            "This Idempotency-Key was used with a different body; send a new key.",
            param="Idempotency-Key",
        )
    return uuid.UUID(str(job_id))


def released_old_key(order: Order) -> bool:
    """Free the key from a job that is older than its lifetime; true if there was one."""
    if order.idempotency_key is None:
        return False
    updated = Job.objects.filter(
        owner=order.owner,
        route=order.route,
        idempotency_key=order.idempotency_key,
        created_at__lte=timezone.now() - IDEMPOTENCY_LIFETIME,
    ).update(idempotency_key=None)
    return updated > 0


def refusal(order: Order) -> ApiError:
    """Why the ledger admitted nothing."""
    balance = ledger.balance(order.owner)
    if balance.frozen:
        return ApiError(
            403,
            "account_frozen",
            "Your account is frozen, as after a disputed payment: nothing new can be started. "
            "Ask the operator to look at it.",
            type="permission_error",
        )
    return insufficient_quota(order, balance.available)


def insufficient_quota(order: Order, available: int) -> ApiError:
    return ApiError(
        402,
        "insufficient_quota",
        f"This request needs ${usd(order.price):g}, and ${usd(available):g} of your credit is "
        "available. Add funds and send it again.",
        type="insufficient_quota",
        detail={
            "required": usd(order.price),
            "available": usd(available),
            "topup_url": f"{settings.PUBLIC_URL}/dashboard/billing",
        },
    )
