"""All that is kept about an account, as a ZIP that is made while it is sent.

A page of rows at a time goes through memory, whatever the account has; each is found by index
and nothing is held open in between. Keys come without their secrets, outputs by name and size.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession

from billing import ledger, statement
from billing.models import Purchase
from billing.money import usd
from modelpilot.accounts.models import ApiKey, User
from modelpilot.jobs.models import Budget, Job, Usage, WebhookEndpoint

PAGE = 200
NOTE = """This is what is kept about your account.

account.json      the account, its addresses, ways to sign in, sessions, keys and webhooks
jobs.jsonl        your jobs, one in a line: what was asked, what came back, what it cost (USD)
transfers.jsonl   the moves of money on your account, newest first (USD)
purchases.jsonl   the credit that you bought (USD)
usage.jsonl       per day, model and key (USD)

Files that jobs made are listed with them; fetch them by GET /api/v1/jobs/{id} until they expire.
Keys are stored as hashes: nobody can tell you what they were.
"""

Rows = Iterable[dict[str, Any]]


class Outlet:
    """A file that nobody can seek in: what was written waits to be taken."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def write(self, data: bytes) -> int:
        self.waiting += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken = bytes(self.waiting)
        self.waiting.clear()
        return taken


def parts(user: User) -> Iterator[bytes]:
    """The ZIP, in parts; each may be asked for in another thread."""
    outlet = Outlet()
    lines: dict[str, Callable[[User], Iterator[Rows]]] = {
        "jobs.jsonl": jobs,
        "transfers.jsonl": transfers,
        "purchases.jsonl": purchases,
        "usage.jsonl": usage,
    }
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        archive.writestr("README.txt", NOTE)
        archive.writestr("account.json", json.dumps(account(user), default=text, indent=1))
        yield outlet.take()
        for name, pages in lines.items():
            with archive.open(name, "w", force_zip64=True) as file:
                for page in pages(user):
                    for row in page:
                        file.write(json.dumps(row, default=text).encode() + b"\n")
                    yield outlet.take()
    yield outlet.take()


def text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def account(user: User) -> dict[str, Any]:
    balance = ledger.balance(user.id)
    return {
        "email": user.email,
        "created_at": user.created_at,
        "operator": user.is_staff,
        "may_deploy": user.is_staff or user.can_deploy,
        "balance": usd(balance.balance),
        "held": usd(balance.held),
        "owed": usd(balance.debt),
        "addresses": values(EmailAddress, user, "email", "verified", "primary"),
        "connected_accounts": values(
            SocialAccount, user, "provider", "uid", "extra_data", "date_joined", "last_login"
        ),
        "second_factors": values(Authenticator, user, "type", "created_at", "last_used_at"),
        "sessions": values(UserSession, user, "ip", "user_agent", "created_at", "last_seen_at"),
        "keys": values(
            ApiKey,
            user,
            "id",
            "name",
            "last_four",
            "permissions",
            "allowed_models",
            "requests_per_minute",
            "concurrency",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        ),
        "budgets": list(
            Budget.objects.filter(owner=user).values("key", "period", "cap", "start", "spent")
        ),
        "webhooks": list(
            WebhookEndpoint.objects.filter(owner=user, deleted_at=None).values(
                "id", "url", "enabled", "disabled_reason", "created_at"
            )
        ),
    }


def values(model: Any, user: User, *names: str) -> list[dict[str, Any]]:
    return list(model.objects.filter(user=user).order_by("pk").values(*names))


def jobs(user: User) -> Iterator[Rows]:
    last: UUID | None = None
    while True:
        rows = Job.objects.filter(owner=user).prefetch_related("outputs")
        if last is not None:
            rows = rows.filter(id__gt=last)
        page = list(rows.order_by("id")[:PAGE])
        yield map(job_row, page)
        if len(page) < PAGE:
            return
        last = page[-1].id


def job_row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "model": job.model,
        "route": job.route,
        "key": job.key,
        "state": job.state,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "cost": usd(job.cost),
        "request": job.request,
        "result": job.result,
        "error": job.error,
        "outputs": [
            {"name": output.name, "media_type": output.media_type, "bytes": output.bytes}
            for output in job.outputs.all()
        ],
    }


def transfers(user: User) -> Iterator[Rows]:
    last: int | None = None
    while True:
        page = statement.entries(user.id, limit=PAGE, before=last)
        yield (
            {
                "id": entry.id,
                "created_at": entry.created_at,
                "type": entry.type,
                "amount": usd(entry.amount),
                "reference": entry.reference,
                "note": entry.note,
            }
            for entry in page
        )
        if len(page) < PAGE:
            return
        last = page[-1].id


def purchases(user: User) -> Iterator[Rows]:
    """People buy credit now and then: one page is enough for everybody."""
    yield (
        {
            "id": purchase.id,
            "created_at": purchase.created_at,
            "paid_at": purchase.paid_at,
            "state": purchase.state,
            "amount": usd(purchase.amount),
            "bonus": usd(purchase.bonus),
            "receipt_url": purchase.receipt_url,
        }
        for purchase in Purchase.objects.filter(owner=user).order_by("created_at").iterator()
    )


def usage(user: User) -> Iterator[Rows]:
    """By day: the rows of a day are few."""
    last = None
    while True:
        rows = Usage.objects.filter(owner=user)
        if last is not None:
            rows = rows.filter(day__gt=last)
        first = rows.order_by("day").values_list("day", flat=True).first()
        if first is None:
            return
        yield map(usage_row, Usage.objects.filter(owner=user, day=first))
        last = first


def usage_row(row: Usage) -> dict[str, Any]:
    return {
        "day": row.day,
        "key": row.key,
        "model": row.model,
        "requests": row.requests,
        "succeeded": row.succeeded,
        "failed": row.failed,
        "cost": usd(row.cost),
        "tokens_in": row.tokens_in,
        "tokens_out": row.tokens_out,
        "seconds": row.seconds,
    }
