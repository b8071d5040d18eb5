"""Sending an account's events as webhooks, as well or as badly as wanted."""

import json
import queue
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests
import stripe

from tests.fake_stripe.account import Object

WEBHOOK_SECRET = "whsec_fake"
TRIES = 20
RETRY_S = 0.2


def body_of(event: Object) -> bytes:
    return json.dumps(event).encode()


def signature(body: bytes, secret: str = WEBHOOK_SECRET, age_s: int = 0) -> str:
    """The `Stripe-Signature` header, made by Stripe's own client."""
    header: str = stripe.WebhookSignature.generate_signature_header(
        body.decode(), secret, int(time.time()) - age_s
    )
    return header


def send(url: str, event: Object, *, secret: str = WEBHOOK_SECRET, age_s: int = 0) -> int:
    """Send one event once; the status of the answer."""
    body = body_of(event)
    headers = {
        "Stripe-Signature": signature(body, secret, age_s),
        "Content-Type": "application/json",
    }
    return requests.post(url, data=body, headers=headers, timeout=30).status_code


@dataclass
class Post:
    """What becomes of events on their way: dropped for good, doubled, late, out of order.

    `dropped` counts those of which no copy arrives.
    """

    rng: random.Random = field(default_factory=lambda: random.Random(0))
    drop: float = 0.0
    copies: int = 1
    shuffle: bool = False
    dropped: int = 0

    def arranged(self, events: list[Object]) -> list[Object]:
        """The events in the order in which they arrive."""
        kept = [event for event in events if self.rng.random() >= self.drop]
        self.dropped += len(events) - len(kept)
        arriving = kept * self.copies
        if self.shuffle:
            self.rng.shuffle(arriving)
        return arriving


@contextmanager
def delivering(url: str, *, delay_s: float = 0.0) -> Iterator[queue.Queue[Object | None]]:
    """A queue whose events are sent to `url`, each until it is answered with 2xx."""
    events: queue.Queue[Object | None] = queue.Queue()

    def run() -> None:
        while (event := events.get()) is not None:
            time.sleep(delay_s)
            for _ in range(TRIES):
                try:
                    if send(url, event) < 300:
                        break
                except requests.RequestException:
                    pass
                time.sleep(RETRY_S)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield events
    finally:
        events.put(None)
        thread.join(10)
