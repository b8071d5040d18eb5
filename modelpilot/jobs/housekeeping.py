"""What housekeeping does by the clock (see `celery.app.conf.beat_schedule`)."""

import logging

from django.conf import settings
from django.db.models.functions import Now

from billing import ledger, payments
from billing import reconcile as stripe_reconcile
from billing.models import Proof
from modelpilot.accounts import sessions
from modelpilot.celery import app
from modelpilot.jobs import departure, notices, sql, storage, webhooks
from modelpilot.jobs import rescue as rescuer

log = logging.getLogger(__name__)


@app.task(name="rescue")
def rescue() -> None:
    rescuer.rescue()


@app.task(name="deliver")
def deliver() -> None:
    webhooks.deliver()


@app.task(name="erase")
def erase() -> None:
    if done := departure.erase():
        log.info("Deleted what was kept of %d closed accounts.", done)


@app.task(name="tidy")
def tidy() -> None:
    sessions.tidy()


@app.task(name="notify")
def notify() -> None:
    notices.send()


@app.task(name="expire")
def expire() -> None:
    if deleted := storage.expire(settings.OUTPUT_DAYS):
        log.info("Deleted what %d old jobs had made.", deleted)


@app.task(name="reconcile")
def reconcile() -> None:
    for problem in check_books():
        log.error("The books: %s", problem)


def check_books(days: int = stripe_reconcile.DAYS) -> list[str]:
    """Catch up with Stripe, prove the books, and keep what was found for the operators' front
    page; the problems, a sentence each."""
    found = []
    try:
        found += stripe_reconcile.run(days)
    except (payments.Unavailable, payments.Refused) as error:
        found.append(f"Stripe can't be asked: {error}")
    found += departure.paid_too_late() + problems()
    proved = {} if found else {"proved_at": Now()}
    Proof.objects.update_or_create(
        id=1, defaults={"checked_at": Now(), "problems": found, **proved}
    )
    return found


def problems() -> list[str]:
    """What is wrong with the books, a sentence each; always empty."""
    return ledger.problems(sql.BOOKS)
