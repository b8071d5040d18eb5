"""Accepting a job: idempotency, hold and row in one statement, then the bell."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from billing import ledger
from billing.ledger import Balance
from billing.money import usd
from modelpilot import prepared
from modelpilot.accounts.models import ApiKey
from modelpilot.errors import ApiError
from modelpilot.jobs import budgets, journal, sql
from modelpilot.jobs.models import Job

IDEMPOTENCY_LIFETIME = timedelta(hours=24)
# When to come again with more than may be under way: nobody knows which job ends first.
ROOM_RETRY_S = 2


@dataclass(frozen=True, slots=True)
class Order:
    """A job as it is asked for; `price` is the most it can cost, in micro-dollars, and `tariff`
    what it will be settled by (see `billing.pricing.Price.as_json`; None: `price`, flat).

    `key` is the id of the API key, of whose jobs at most `concurrency` may be under way;
    `max_cost` (USD) is what the client is ready to pay; after `cancel_after_s` it is cancelled.
    """

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
    uploads: bool = False
    idempotency_key: str | None = None
    body_digest: bytes | None = None
    webhook: str | None = None
    key: int | None = None
    concurrency: int | None = None
    max_cost: float | None = None
    tariff: dict[str, int] | None = None
    cancel_after_s: float | None = None


def submit(order: Order) -> uuid.UUID:
    """Record the job and hold its price; the caller rings the bell afterwards.

    Returns the job's id: `order.id`, or that of the earlier job under the same
    idempotency key. Raises ApiError 402 `max_cost_exceeded`, `insufficient_quota` and
    `budget_exceeded`, 403 `account_frozen`, 422 `idempotency_key_reused` and 429
    `rate_limit_exceeded` where as many jobs are under way as may be; then nothing was written.
    """
    if order.max_cost is not None and usd(order.price) > order.max_cost:
        # What was accepted at another price is still the answer to its idempotency key.
        if earlier := find_earlier(order):
            return earlier
        raise max_cost_exceeded(order, order.max_cost)
    while True:
        try:
            refused = admit(order)
            if refused is None:
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
            refused = None  # the idempotency key is taken, perhaps this very millisecond
        if earlier := find_earlier(order):
            return earlier
        if not released_old_key(order):
            raise refused or refusal(order, ledger.balance(order.owner))


def admit(order: Order) -> ApiError | None:
    """Record the job; else, why not."""
    if order.key is None or order.concurrency is None:
        accepted, lacking = insert(order, sql.SUBMIT)
    else:
        with transaction.atomic():
            lock_key(order.key)
            accepted, lacking = insert(order, sql.SUBMIT)
    if accepted:
        return None
    if lacking:
        return too_many_jobs(order, lacking)
    balance = ledger.balance(order.owner)
    if balance.debt and balance.available and not balance.frozen:
        # Jobs have given back what they held: it is repaid before anything is bought of it.
        ledger.collect(order.owner)
        return admit(order)
    return admit_budgeted(order) if balance.budgeted else refusal(order, balance)


def admit_budgeted(order: Order) -> ApiError | None:
    """`admit` for an owner who has budgets: one submit at a time, so that each sees what those
    before it have left of them."""
    with transaction.atomic():
        if order.key is not None and order.concurrency is not None:
            lock_key(order.key)
        ledger.locked(order.owner)
        accepted, lacking = insert(order, sql.SUBMIT_BUDGETED)
        if accepted:
            return None
        if lacking:
            return too_many_jobs(order, lacking)
        balance = ledger.balance(order.owner)
        if not balance.frozen and balance.available >= order.price:
            for budget in budgets.applying(order.owner, order.key):
                if budget.remaining < order.price:
                    return budgets.exceeded(order.price, budget)
        return refusal(order, balance)


def lock_key(key: int) -> None:
    """Submits of such a key go one by one, so that each counts the jobs of those before it."""
    ApiKey.objects.select_for_update(no_key=True).filter(id=key).first()


def insert(order: Order, statement: str) -> tuple[bool, str | None]:
    """Whether the job was recorded, and else whether "key" or "account" has too many."""
    parameters = {
        **{name: getattr(order, name) for name in Order.__slots__},
        "request": Jsonb(order.request),
        "tariff": None if order.tariff is None else Jsonb(order.tariff),
        "ref": str(order.id),
        "jobs_per_account": settings.JOBS_PER_ACCOUNT,
    }
    ((job, lacking),) = prepared.run(statement, parameters)
    return job is not None, lacking


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


def refusal(order: Order, balance: Balance) -> ApiError:
    """Why the ledger admitted nothing."""
    if balance.frozen:
        return ApiError(
            403,
            "account_frozen",
            "Your account is frozen, as after a disputed payment: nothing new can be started. "
            "Ask the operator to look at it.",
            type="permission_error",
        )
    return insufficient_quota(order, balance)


def insufficient_quota(order: Order, balance: Balance) -> ApiError:
    owed = f" You owe ${usd(balance.debt):g}, which they repay first." if balance.debt else ""
    return ApiError(
        402,
        "insufficient_quota",
        f"This request needs ${usd(order.price):g}, and ${usd(balance.available):g} of your credit "
        f"is available. Add funds and send it again.{owed}",
        type="insufficient_quota",
        detail={
            "required": usd(order.price),
            "available": usd(balance.available),
            "topup_url": f"{settings.PUBLIC_URL}/dashboard/billing",
        },
    )


def max_cost_exceeded(order: Order, max_cost: float) -> ApiError:
    return ApiError(
        402,
        "max_cost_exceeded",
        f"This request can cost ${usd(order.price):g}, and its 'max_cost' is ${max_cost:g}. "
        "Raise that, or ask for less.",
        param="max_cost",
        detail={"required": usd(order.price), "max_cost": max_cost},
    )


def too_many_jobs(order: Order, lacking: str) -> ApiError:
    whose, most = (
        ("This API key", order.concurrency)
        if lacking == "key"
        else ("Your account", settings.JOBS_PER_ACCOUNT)
    )
    return ApiError(
        429,
        "rate_limit_exceeded",
        f"{whose} has {most} jobs queued and running, which is as many as it may. Wait until one "
        "has ended.",
        type="rate_limit_error",
        headers={"Retry-After": str(ROOM_RETRY_S)},
    )
