"""An account's moves of money as its owner sees them: newest first, in for +, out for -."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet

from billing.models import Account, Transfer
from billing.money import MICROS_PER_USD

COLUMNS = ("id", "created_at", "type", "amount", "reference", "note")
# A hold moves nothing yet, and a void nothing any more.
MOVED = (Transfer.Kind.SINGLE, Transfer.Kind.POST)


@dataclass(frozen=True, slots=True)
class Entry:
    """One move; `amount` in micro-dollars, below zero for what left the account."""

    id: int
    created_at: datetime
    type: str
    amount: int
    reference: str
    note: str


def entries(
    owner_id: int,
    *,
    limit: int,
    before: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Entry]:
    """The newest `limit` moves of a user's account, of those before the id `before`.

    Each side is read by its own index, so a page costs the same after ten million transfers.
    """
    account = Account.objects.filter(owner_id=owner_id, code=Account.Code.USER).first()
    if account is None:
        return []
    chosen = Q(kind__in=MOVED)
    if before is not None:
        chosen &= Q(id__lt=before)
    if since is not None:
        chosen &= Q(created_at__gte=since)
    if until is not None:
        chosen &= Q(created_at__lt=until)
    moves = Transfer.objects.filter(chosen).order_by("-id")
    found = [
        *sided(moves.filter(credit=account)[:limit], +1),
        *sided(moves.filter(debit=account)[:limit], -1),
    ]
    return sorted(found, key=lambda entry: -entry.id)[:limit]


def single_moves(owner_id: int, *, since: datetime) -> list[Entry]:
    """The moves of a user's account that were not for jobs, oldest first: few, and read by
    indexes that the charges are not in."""
    account = Account.objects.filter(owner_id=owner_id, code=Account.Code.USER).first()
    moves = Transfer.objects.filter(kind=Transfer.Kind.SINGLE, created_at__gte=since)
    found = [*sided(moves.filter(credit=account), +1), *sided(moves.filter(debit=account), -1)]
    return sorted(found, key=lambda entry: entry.id)


def sided(moves: QuerySet[Transfer], sign: int) -> Iterable[Entry]:
    return (
        Entry(move.id, move.created_at, move.code, sign * move.amount, reference(move), move.note)
        for move in moves
    )


def reference(move: Transfer) -> str:
    """What a move is about, where that has a name for the account's owner."""
    return move.ref if move.code in ("charge", "topup", "bonus") else ""


def table(found: Iterable[Entry]) -> str:
    """The entries as CSV, amounts in USD to the micro-dollar."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in found:
        row: list[Any] = [
            entry.id,
            entry.created_at.isoformat(),
            entry.type,
            decimal(entry.amount),
            entry.reference,
            harmless(entry.note),
        ]
        writer.writerow(row)
    return out.getvalue()


def decimal(amount: int) -> str:
    """USD to the micro-dollar."""
    return f"{Decimal(amount) / MICROS_PER_USD:f}"


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
