"""Queue many jobs at once and time how long the pod takes: the pod without the web process.

Runs in a stack's own environment, as `manage.py shell -c`.
"""

import sys
import time

from django.db import transaction

from benchmarks.load import TOKENS
from benchmarks.stack import EMAIL
from inference.types import ChatRequest
from modelpilot.accounts.models import User
from modelpilot.fleet import deployments
from modelpilot.fleet.catalog import cards, price_of
from modelpilot.jobs import doorbell
from modelpilot.jobs.ids import new_id
from modelpilot.jobs.models import Job
from modelpilot.jobs.submit import Order, submit

PATIENCE_S = 120.0


def order(model: str, number: int) -> Order:
    card = cards().find(model)
    serving = deployments.serving(model)
    assert card is not None
    assert serving is not None
    request = ChatRequest(
        messages=[{"role": "user", "content": f"job {number} of many"}], max_tokens=TOKENS
    )
    return Order(
        id=new_id(),
        owner=User.objects.get(email=EMAIL).id,
        permission="proxy",
        route="chat/completions",
        request_id="backlog",
        kind=card.kind,
        model=model,
        deployment=serving.id,
        request={name: getattr(request, name) for name in ChatRequest.__slots__},
        price=price_of(card).request,
        deadline_s=card.deadline_s,
    )


def drain(model: str, count: int) -> None:
    """Print the seconds from the commit of `count` jobs to the end of the last one."""
    orders = [order(model, number) for number in range(count)]
    with transaction.atomic():
        for one in orders:
            submit(one)
    begun = time.perf_counter()
    doorbell.ring(model)
    unfinished = Job.objects.filter(
        id__in=[one.id for one in orders], state__in=[Job.State.QUEUED, Job.State.RUNNING]
    )
    while unfinished.exists():
        if time.perf_counter() > begun + PATIENCE_S:
            sys.exit(f"After {PATIENCE_S:.0f} s {unfinished.count()} of {count} jobs wait.")
        time.sleep(0.05)
    seconds = time.perf_counter() - begun
    failed = Job.objects.filter(id__in=[one.id for one in orders]).exclude(
        state=Job.State.SUCCEEDED
    )
    if failed.exists():
        sys.exit(f"{failed.count()} of {count} jobs failed.")
    print(f"{seconds:.3f}")
