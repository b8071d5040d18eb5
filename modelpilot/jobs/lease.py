"""A pod's side of a job: claim it, keep it, finish it. All of it is fenced by `attempt`."""

import json
import logging
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from modelpilot import prepared
from modelpilot.jobs import journal, sql
from modelpilot.jobs.models import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """One job in one attempt, as its pod holds it.

    `remaining_s` is the time to its deadline, `cancel_in_s` that to its `Cancel-After`. It holds
    `price`, and is settled by `tariff` (None: by `price`, flat).
    """

    id: uuid.UUID
    attempt: int
    kind: str
    request: dict[str, Any]
    price: int
    stream: bool
    watched: bool
    request_id: str
    created_at: Any
    remaining_s: float
    owner: int
    cancel_in_s: float | None = None
    tariff: dict[str, int] | None = None


def claim(model: str, pod: uuid.UUID, limit: int, slots: int | None = None) -> list[Claim]:
    """Take up to `limit` of the model's waiting jobs, fairest first; the pod has `slots` in all.

    Of those that have lost a pod it takes few at a time. Among as many as a pod has slots, one
    that kills pods is found in three attempts with the fewest deaths of others if each attempt
    has the same part of the company of the one before: 32, then 5, then one alone.
    """
    rows = prepared.run(
        sql.CLAIM,
        {
            "model": model,
            "pod": pod,
            "limit": limit,
            "lease_s": settings.LEASE_S,
            "last_attempt": settings.MAX_ATTEMPTS,
            "company": math.isqrt(slots or limit),
        },
    )
    claims = [
        Claim(
            id=row[0],
            attempt=row[1],
            kind=row[2],
            request=from_json(row[3]),
            price=row[4],
            stream=row[5],
            watched=row[6],
            request_id=row[7],
            created_at=row[8],
            remaining_s=float(row[9]),
            owner=row[10],
            cancel_in_s=None if row[12] is None else float(row[12]),
            tariff=from_json(row[13]),
        )
        for row in rows
    ]
    for row, claim in zip(rows, claims, strict=True):
        journal.claimed(
            claim.id,
            request_id=claim.request_id,
            account=claim.owner,
            model=model,
            attempt=claim.attempt,
            pod=pod,
            queue_s=float(row[11]),
        )
    return sorted(claims, key=lambda claim: claim.id)


def from_json(value: Any) -> Any:
    """A jsonb column as a raw cursor returns it (Django leaves it as text)."""
    return json.loads(value) if isinstance(value, str) else value


def postpone_deadlines(model: str, seconds: float) -> None:
    """Give the model's waiting jobs this much longer."""
    waiting = Job.objects.filter(state=Job.State.QUEUED, model=model)
    waiting.update(deadline_at=F("deadline_at") + timedelta(seconds=seconds))


def renew(claims: dict[uuid.UUID, int]) -> dict[uuid.UUID, bool]:
    """Prolong the leases of `{job: attempt}`.

    Returns `{job: cancel requested}` for those that are still ours; the work on any
    other must stop at once.
    """
    rows = prepared.run(
        sql.RENEW,
        {"ids": list(claims), "attempts": list(claims.values()), "lease_s": settings.LEASE_S},
    )
    return {job: cancel for job, _, cancel in rows}


def begin_sending(claim: Claim) -> bool:
    """Record that the client is about to get a part of the answer: no other attempt follows.

    The lease is renewed with it, so a rescuer that has just found it over gives up. False
    means that the job is no longer ours, and nothing may be sent.
    """

    def begin() -> bool:
        running = Job.objects.filter(id=claim.id, attempt=claim.attempt, state=Job.State.RUNNING)
        until = Now() + timedelta(seconds=settings.LEASE_S)
        return bool(running.filter(lease_until__gt=Now()).update(stream=True, lease_until=until))

    return retrying(begin)


def finish(
    claim: Claim,
    state: Job.State,
    *,
    charge: int,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
    outputs: list[dict[str, Any]] | None = None,
) -> bool:
    """End the attempt: state, charge (micro-dollars), result and outputs in one transaction.

    False means that the job is no longer ours, and nothing was written. A database
    that is away is asked again: the statement is fenced, so a commit of unknown outcome
    is simply looked at.
    """

    def conclude() -> bool:
        attempt = conclude_if(
            sql.FINISH, claim.id, claim.attempt, state, charge, result, error, outputs
        )
        return attempt is not None or ended_as(claim, state)

    return retrying(conclude)


def ended_as(claim: Claim, state: Job.State) -> bool:
    return Job.objects.filter(id=claim.id, attempt=claim.attempt, state=state).exists()


def conclude_if(
    statement: str,
    job: uuid.UUID,
    attempt: int | None,
    state: Job.State,
    charge: int,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
    outputs: list[dict[str, Any]] | None = None,
) -> int | None:
    """Run one of `sql.conclude`'s statements; the job's last attempt if that ended it."""
    usage = (result or {}).get("usage") or {}
    parameters: dict[str, Any] = {
        "id": job,
        "attempt": attempt,
        "state": state.value,
        "charge": charge,
        "result": None if result is None else Jsonb(result),
        "error": None if error is None else Jsonb(error),
        "outputs": Jsonb(outputs or []),
        "tokens_in": usage.get("prompt_tokens") or 0,
        "tokens_out": usage.get("completion_tokens") or 0,
    }
    rows = prepared.run(statement, parameters)
    if not rows:
        return None
    last_attempt, cost, owner, model, request_id, queue_s, run_s = rows[0]
    journal.ended(
        job,
        request_id=request_id,
        account=owner,
        model=model,
        attempt=last_attempt,
        state=state.value,
        queue_s=float(queue_s),
        run_s=None if run_s is None else float(run_s),
        cost=cost,
        result=result,
        error=error,
    )
    return int(last_attempt)


def retrying(function: Callable[[], bool], patience_s: float = 60.0) -> bool:
    """Call again while the database is away, for as long as `patience_s`."""
    give_up = time.monotonic() + patience_s
    while True:
        try:
            return function()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() > give_up:
                raise
            log.warning("The database is away (%s); trying again.", type(error).__name__)
            time.sleep(0.5)
