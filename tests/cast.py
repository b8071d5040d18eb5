"""The fixed cast of every test: alice owns, bob is the operator, charlie must see nothing."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from django.db import connection

from billing import ledger
from billing.money import micros
from modelpilot.accounts.models import User
from modelpilot.jobs import housekeeping
from modelpilot.jobs.ids import new_id
from modelpilot.jobs.models import Job
from modelpilot.jobs.submit import Order, submit

T = TypeVar("T")
PRICE = micros("0.01")
# Threads of `at_once`, and connections for them.
MOST_AT_ONCE = 50


def member(name: str, credit: str = "0", **fields: Any) -> User:
    """A user with a spending account and some dollars on it."""
    user = User.objects.create_user(f"{name}@example.com", **fields)
    ledger.open_account(user.id)
    if credit != "0":
        ledger.grant(user.id, micros(credit), ref=f"test:{user.email}", reason="test")
    return user


def order(owner: User, **fields: Any) -> Order:
    """A job of the echo model, as a route would place it."""
    return Order(
        **{
            "id": new_id(),
            "owner": owner.id,
            "permission": "proxy",
            "route": "chat/completions",
            "request_id": "test",
            "kind": "text",
            "model": "echo",
            "deployment": "dep0",
            "request": {"messages": [{"role": "user", "content": "hello"}]},
            "price": PRICE,
            "deadline_s": 600,
            **fields,
        }
    )


def submitted(owner: User, **fields: Any) -> Job:
    return Job.objects.get(id=submit(order(owner, **fields)))


def at_once(count: int, work: Callable[[int], T]) -> list[T | Exception]:
    """Call `work(0..count-1)` in as many threads as have connections, all let go together."""
    gate = threading.Barrier(min(count, MOST_AT_ONCE))

    def one(number: int) -> T | Exception:
        try:
            if number < gate.parties:
                gate.wait(30)
            return work(number)
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(gate.parties) as threads:
        return list(threads.map(one, range(count)))


def assert_books_prove() -> None:
    assert housekeeping.problems() == []


def pod_id() -> uuid.UUID:
    return uuid.uuid4()
