"""An account's month: what it began with, what came in, what jobs cost, what was left.

The cost of jobs is read from their usage, which equals the ledger, and balances are counted back
from today's: neither the month's jobs nor the transfers before it are read.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from billing import ledger, statement
from billing.statement import Entry
from modelpilot.accounts.models import User
from modelpilot.jobs.models import Usage

SALT = "modelpilot.statement"
MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Charges:
    """What the jobs of one model came to; `cost` in micro-dollars."""

    model: str
    requests: int
    cost: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A month (UTC), in micro-dollars: opening + moves - charges = closing.

    `moves` are the account's but for jobs, oldest first. The month that has not ended yet is
    stated up to `made_at`.
    """

    email: str
    first: date
    complete: bool
    opening: int
    closing: int
    moves: list[Entry]
    charges: list[Charges]
    made_at: datetime

    @property
    def month(self) -> str:
        return f"{self.first:%Y-%m}"

    @property
    def last(self) -> date:
        return next_month(self.first) - timedelta(days=1) if self.complete else self.made_at.date()

    @property
    def moved(self) -> int:
        return sum(move.amount for move in self.moves)

    @property
    def charged(self) -> int:
        return sum(charge.cost for charge in self.charges)


def first_of(month: str) -> date | None:
    """The first day of "2026-11"; None for what is no month, or one that has not begun."""
    found = MONTH.fullmatch(month)
    if found is None:
        return None
    first = date(int(found[1]), int(found[2]), 1)
    return first if first <= timezone.now().date() else None


def next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def of_month(owner: int, first: date) -> Statement:
    """The statement of the month that began on `first`, all of it read at one moment."""
    begins, ends = midnight(first), midnight(next_month(first))
    with transaction.atomic():
        if not connection.savepoint_ids:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        now = timezone.now()
        balance = ledger.balance(owner).balance
        moves = statement.single_moves(owner, since=begins)
        used = Usage.objects.filter(owner=owner)
        charges = [
            Charges(*row)
            for row in used.filter(day__gte=first, day__lt=ends.date())
            .values("model")
            .annotate(requests_sum=Sum("requests"), cost_sum=Sum("cost"))
            .order_by("model")
            .values_list("model", "requests_sum", "cost_sum")
        ]
        charged_since: int = used.filter(day__gte=ends.date()).aggregate(
            sum=Sum("cost", default=0)
        )["sum"]
        email = User.objects.get(id=owner).email
    mine = [move for move in moves if move.created_at < ends]
    moved_since = sum(move.amount for move in moves if move.created_at >= ends)
    closing = balance - moved_since + charged_since
    opening = closing - sum(move.amount for move in mine) + sum(each.cost for each in charges)
    return Statement(email, first, ends <= now, opening, closing, mine, charges, now)


def link(owner: int, first: date) -> str:
    """What opens the page of a month for a while, to whoever has it."""
    return signing.dumps([owner, first.isoformat()], salt=SALT)


def linked(token: str) -> tuple[int, date] | None:
    """The owner and the month of a link, as long as it works."""
    try:
        owner, first = signing.loads(token, salt=SALT, max_age=settings.OUTPUT_URL_SECONDS)
    except signing.BadSignature:
        return None
    return owner, date.fromisoformat(first)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def rows(month: Statement) -> list[dict[str, Any]]:
    """The statement line by line: `date`, `type`, `reference`, `requests`, `amount`."""

    def row(day: date, kind: str, amount: int, reference: str = "", requests: Any = "") -> Any:
        return {
            "date": day.isoformat(),
            "type": kind,
            "reference": reference,
            "requests": requests,
            "amount": amount,
        }

    return [
        row(month.first, "opening_balance", month.opening),
        *(
            row(move.created_at.date(), move.type, move.amount, move.reference or move.note)
            for move in month.moves
        ),
        *(
            row(month.last, "charges", -each.cost, each.model, each.requests)
            for each in month.charges
        ),
        row(month.last, "closing_balance", month.closing),
    ]
