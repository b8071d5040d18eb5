"""The audit log: who changed what, and from where. Rows are only added, the database sees to that.

Written in the transaction of the change itself, so there is no change without its row and no row
without its change. It never holds a secret: neither keys nor passwords nor prompts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from modelpilot.accounts.models import AuditEntry, User
from modelpilot.client_address import UNKNOWN


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a user (by a page or a key) from an address, or a command or process of the
    operator's machine, by name."""

    name: str
    user_id: int | None = None
    key_id: int | None = None
    address: str | None = None


COMMAND = Actor("manage.py")
# Set by whatever lets a person in; commands and housekeeping act for the operator.
acting: ContextVar[Actor] = ContextVar("acting", default=COMMAND)


def record(action: str, subject: object, /, **detail: Any) -> None:
    """Write down that `action` (a verb behind its noun: "key.revoke") was done to `subject`.

    `detail` is JSON, what was changed to what.
    """
    actor = acting.get()
    AuditEntry.objects.create(
        actor=actor.name[:254],
        actor_id=actor.user_id,
        key_id=actor.key_id,
        address=None if actor.address == UNKNOWN else actor.address,
        action=action,
        subject=str(subject)[:200],
        detail=detail,
    )


@contextmanager
def by(actor: Actor) -> Iterator[None]:
    """What is recorded inside was done by `actor`."""
    before = acting.set(actor)
    try:
        yield
    finally:
        acting.reset(before)


def of_user(user: User, address: str | None = None) -> Actor:
    return Actor(user.email, user.id, None, address)
