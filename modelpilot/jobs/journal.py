"""What is told of a job on its way: a line for each transition, and its part in the counters.

Never its request or its result: they are the customer's.
"""

import uuid
from typing import Any

from billing.money import usd
from modelpilot import logs
from modelpilot.jobs import counters

log = logs.logger("modelpilot.job")


@logs.harmless
def accepted(
    job: uuid.UUID, *, request_id: str, account: int, kind: str, model: str, price: int
) -> None:
    log.info(
        "job accepted",
        job=str(job),
        request_id=request_id,
        account=account,
        kind=kind,
        model=model,
        price=usd(price),
    )
    counters.add(counters.ACCEPTED, model)


@logs.harmless
def claimed(
    job: uuid.UUID,
    *,
    request_id: str,
    account: int,
    model: str,
    attempt: int,
    pod: uuid.UUID,
    queue_s: float,
) -> None:
    log.info(
        "job claimed",
        job=str(job),
        request_id=request_id,
        account=account,
        model=model,
        attempt=attempt,
        pod=str(pod),
        queue_ms=round(queue_s * 1000),
    )
    if attempt == 1:
        counters.observe(counters.QUEUE_WAIT, model, seconds=queue_s)


@logs.harmless
def ended(
    job: uuid.UUID,
    *,
    request_id: str,
    account: int,
    model: str,
    attempt: int,
    state: str,
    queue_s: float,
    run_s: float | None,
    cost: int,
    result: dict[str, Any] | None,
    error: dict[str, Any] | None,
) -> None:
    log.info(
        "job ended",
        state=state,
        job=str(job),
        request_id=request_id,
        account=account,
        model=model,
        attempt=attempt,
        queue_ms=round(queue_s * 1000),
        run_ms=None if run_s is None else round(run_s * 1000),
        cost=usd(cost),
        error=(error or {}).get("code"),
    )
    counters.add(counters.JOBS, model, state)
    if run_s is not None:
        counters.observe(counters.RUN_TIME, model, seconds=run_s)
    if cost:
        counters.add(counters.REVENUE, model, amount=cost)
    usage = (result or {}).get("usage") or {}
    for direction, name in (("in", "prompt_tokens"), ("out", "completion_tokens")):
        if usage.get(name):
            counters.add(counters.TOKENS, model, direction, amount=usage[name])


@logs.harmless
def requeued(
    job: uuid.UUID,
    *,
    request_id: str,
    account: int,
    model: str,
    attempt: int,
    pod: uuid.UUID | None,
) -> None:
    log.warning(
        "job requeued",
        job=str(job),
        request_id=request_id,
        account=account,
        model=model,
        attempt=attempt,
        pod=str(pod),
        reason="its pod was lost",
    )
    counters.add(counters.REQUEUED, model)


@logs.harmless
def cancel_requested(job: uuid.UUID) -> None:
    log.info("job cancel requested", job=str(job))
