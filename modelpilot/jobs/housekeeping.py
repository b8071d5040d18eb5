"""What housekeeping does by the clock (see `celery.app.conf.beat_schedule`)."""

import logging

from django.conf import settings

from billing import ledger, payments
from billing import reconcile as stripe_reconcile
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
    try:
        for problem in stripe_reconcile.run():
            log.error("Stripe and the ledger differ: %s", problem)
    except (payments.Unavailable, payments.Refused) as error:
        log.warning("Stripe can't be asked: %s", error)
    for problem in problems():
        log.error("The books do not prove: %s", problem)


def problems() -> list[str]:
    """What is wrong with the books, a sentence each; always empty."""
    return ledger.problems(sql.BOOKS)
