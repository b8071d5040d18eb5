"""Bells: one is there for whoever listens, more than there are pods are noise."""

import pytest

from modelpilot.celery import app
from modelpilot.jobs import doorbell, valkey

QUEUE = doorbell.queue("echo")


@pytest.fixture(autouse=True)
def silence() -> None:
    valkey.client().delete(QUEUE)


def test_it_is_there_for_whoever_listens() -> None:
    doorbell.ring("echo")

    with app.connection() as connection, connection.SimpleQueue(QUEUE) as queue:
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["task"] == doorbell.TASK


def test_one_is_enough_for_each_pod() -> None:
    for _ in range(5):
        doorbell.ring("echo")
    assert valkey.client().llen(QUEUE) == 1
    for _ in range(5):
        doorbell.ring("echo", pods=3)
    assert valkey.client().llen(QUEUE) == 3
