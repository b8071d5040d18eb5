"""Ringing for pods. A bell says "look at your queue" and nothing else: it may be lost
(pods look every few seconds anyway) or doubled (the second look finds nothing)."""

import logging

import kombu.exceptions

from modelpilot.celery import app
from modelpilot.jobs import valkey

log = logging.getLogger(__name__)

TASK = "bell"


def queue(model: str) -> str:
    return f"model.{model}"


def ring(model: str, pods: int = 1) -> None:
    """Wake a pod of the model; call it after the commit that gave it something to do.

    A pod that hears one bell takes all the work it has room for, so more bells than pods
    are noise, and publishing one costs more CPU than all the rest of a request.
    """
    try:
        if valkey.client().llen(queue(model)) < max(1, pods):
            app.send_task(TASK, queue=queue(model), retry=False)
    except (*valkey.AWAY, kombu.exceptions.OperationalError) as error:
        log.warning("No bell for %s, its pods will look by themselves: %s", model, error)
