"""What a mortal does (see tests.mortal). Each yields once: from there on its boundaries count."""

import uuid
from collections.abc import Iterator

from billing import purchases, reversals
from inference.types import ChatRequest, Delta, Emit, File, Result
from modelpilot.accounts.models import User
from modelpilot.fleet.run import Run
from modelpilot.jobs import cancel as cancelling
from modelpilot.jobs import doorbell, lease, valkey
from modelpilot.jobs import rescue as rescuer
from modelpilot.jobs.stream import Publisher
from modelpilot.jobs.submit import submit as accept
from tests import cast

MODEL = "echo"
SAYS = "hello there"


class Writer:
    """An engine that says something, and puts it into a file as well."""

    slots = 1

    def generate(self, request: ChatRequest, emit: Emit) -> Result:
        for word in SAYS.split():
            emit(Delta(f"{word} "))
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        choices = [{"index": 0, "text": SAYS, "finish_reason": "stop"}]
        file = File("hello.txt", "text/plain", SAYS.encode())
        return Result({"choices": choices, "usage": usage}, files=[file])

    def close(self) -> None:
        pass


def submit(owner: int, key: str) -> Iterator[None]:
    """As a request does: the job, then the bell."""
    order = cast.order(User(id=owner), idempotency_key=key, body_digest=b"same")
    yield
    accept(order)
    doorbell.ring(MODEL)


def claim(pod: str) -> Iterator[None]:
    yield
    lease.claim(MODEL, uuid.UUID(pod), 5, 8)


def finish(pod: str) -> Iterator[None]:
    """A pod that has claimed a job does it: words, outputs, the end, and the last event."""
    publisher = Publisher(valkey.client())
    claims = lease.claim(MODEL, uuid.UUID(pod), 1)
    yield
    for mine in claims:
        Run(mine, publisher).work(Writer())
        publisher.flush()


def rescue() -> Iterator[None]:
    yield
    rescuer.rescue()


def cancel(job: str) -> Iterator[None]:
    yield
    cancelling.cancel(uuid.UUID(job))


def fulfil(session: str) -> Iterator[None]:
    yield
    purchases.fulfil(session)


def refund(purchase: str, amount: int) -> Iterator[None]:
    yield
    reversals.refund(uuid.UUID(purchase), amount)
