"""What the operators' front page shows: whether all is well, and what is earned."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from billing.models import Freeze, Proof, Purchase
from billing.money import usd
from modelpilot.accounts import registration
from modelpilot.accounts.models import AuditEntry, User
from modelpilot.dashboard.deployments import Bar, bars
from modelpilot.dashboard.tags import about, dollars, seconds
from modelpilot.fleet import economics, facts, overview
from modelpilot.fleet.models import Deployment
from modelpilot.jobs.ids import first_id
from modelpilot.jobs.models import Job, WebhookDelivery

DAYS = 14
# Housekeeping looks each hour; after two something is wrong with it.
STALE = timedelta(hours=2)
FAILURES = 8
# Further is not counted.
MANY = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that wants to be looked at, and where."""

    label: str
    value: str
    url: str
    bad: bool = False


def content() -> dict[str, object]:
    now = facts.gather()
    served = overview.views(list(Deployment.objects.order_by("model")), now)
    devices = overview.devices(now.nodes, now.rows)
    rows = economics.rows(DAYS)
    failed = list(failures())
    return {
        "proof": Proof.objects.filter(id=1).first(),
        "stale": timezone.now() - STALE,
        "bars": list[Bar](bars(devices, served)),
        "served": served,
        "figures": figures(sum(view.queued for view in served), len(failed)),
        "failures": failed[:FAILURES],
        "earned": {"headers": HEADERS, "rows": [line(row) for row in by_model(rows)]},
        "total": total(rows),
        "days": DAYS,
        "chart": json.dumps(chart(rows)),
        "chart_options": json.dumps(OPTIONS),
        "limits": limits(),
        "acts": AuditEntry.objects.order_by("-at", "-id")[:6],
    }


def failures() -> Iterable[Job]:
    """Jobs that failed within a day, newest first; MANY at most."""
    since = first_id(timezone.now() - timedelta(days=1))
    return (
        Job.objects.filter(Q(state__in=["failed", "cancelled"]), state="failed", id__gte=since)
        .order_by("-id")
        .select_related("owner")
        .only("id", "model", "error", "created_at", "owner__email")[:MANY]
    )


def figures(queued: int, failed: int) -> list[Figure]:
    unsettled = Purchase.objects.filter(
        Q(state__in=["open", "processing", "mismatched"]), state=Purchase.State.MISMATCHED
    )
    undelivered = WebhookDelivery.objects.filter(
        state=WebhookDelivery.State.FAILED, created_at__gte=timezone.now() - timedelta(days=1)
    )
    frozen = Freeze.objects.filter(lifted_at=None).values("owner").distinct()
    waiting = User.objects.filter(waiting=True)
    return [
        bad("Accounts to approve", waiting[:MANY].count(), "accounts/user/?waiting__exact=1"),
        Figure("Jobs waiting", f"{queued}", "jobs/job/?state=queued"),
        Figure("Failed in a day", most(failed), "jobs/job/?state=failed", bad=failed > 0),
        bad(
            "Payments to look at",
            unsettled[:MANY].count(),
            "billing/purchase/?state__exact=mismatched",
        ),
        bad(
            "Webhooks given up in a day",
            undelivered[:MANY].count(),
            "jobs/webhookdelivery/?state=failed",
        ),
        bad("Frozen accounts", frozen[:MANY].count(), "billing/account/?frozen__exact=1"),
    ]


def bad(label: str, count: int, url: str) -> Figure:
    return Figure(label, most(count), url, bad=count > 0)


def most(count: int) -> str:
    return f"{count}+" if count >= MANY else f"{count}"


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds for everybody, and the setting that says so; "" is changed on these pages."""

    label: str
    value: str
    setting: str = ""


def limits() -> list[Limit]:
    days = settings.OUTPUT_DAYS
    return [
        Limit("Who may make an account", registration.mode().label),
        Limit("Calls of an address", per(settings.RATE_LIMIT), "MODELPILOT_RATE_LIMIT"),
        Limit("Looks of an address", per(settings.POLL_RATE_LIMIT), "MODELPILOT_POLL_RATE_LIMIT"),
        Limit(
            "Jobs of an account at once",
            f"{settings.JOBS_PER_ACCOUNT:,}",
            "MODELPILOT_JOBS_PER_ACCOUNT",
        ),
        Limit("Files are kept", f"{days} days" if days else "for ever", "MODELPILOT_OUTPUT_DAYS"),
        Limit("Pods without work stop", seconds(settings.IDLE_SECONDS), "MODELPILOT_IDLE_SECONDS"),
    ]


PERIODS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}


def per(rate: tuple[int, int]) -> str:
    count, period = rate
    return f"{count:,} a {PERIODS.get(period) or seconds(period)}"


SUMMED = ("requests", "revenue", "cost", "device_seconds")
HEADERS = ["Model", "Requests", "Revenue", "Cost", "Margin", "Device hours"]


def by_model(rows: list[economics.Row]) -> list[economics.Row]:
    """The sum of each model's days, what earned most first; its day is the latest."""
    found: dict[str, economics.Row] = {}
    for row in rows:
        whole = found.get(row.model, economics.Row(row.day, row.model))
        sums = {name: getattr(whole, name) + getattr(row, name) for name in SUMMED}
        found[row.model] = replace(whole, **sums)
    return sorted(found.values(), key=lambda row: (-row.revenue, row.model))


def line(row: economics.Row) -> list[str]:
    money = (dollars(row.revenue), about(row.cost), about(row.margin))
    return [row.model, f"{row.requests:,}", *money, f"{row.device_seconds / 3600:.2f}"]


def total(rows: list[economics.Row]) -> dict[str, int]:
    return {
        "revenue": sum(row.revenue for row in rows),
        "cost": sum(row.cost for row in rows),
        "margin": sum(row.margin for row in rows),
        "requests": sum(row.requests for row in rows),
    }


def chart(rows: list[economics.Row]) -> dict[str, object]:
    """Chart.js's form of revenue and cost by day, in USD."""
    today = timezone.now().date()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]

    def by_day(name: str) -> list[float]:
        sums: dict[date, int] = dict.fromkeys(days, 0)
        for row in rows:
            sums[row.day] = sums.get(row.day, 0) + getattr(row, name)
        return [usd(sums[day]) for day in days]

    return {
        "labels": [f"{day:%b %d}" for day in days],
        "datasets": [
            {"label": "Revenue", "data": by_day("revenue"), "backgroundColor": "#4a5be8"},
            {"label": "Cost", "data": by_day("cost"), "backgroundColor": "#d9822b"},
        ],
    }


# Read on white as well as on black.
INK = {"color": "#7a8494"}
OPTIONS = {
    "animation": False,
    "maintainAspectRatio": False,
    "scales": {
        "x": {"grid": {"display": False}, "ticks": INK},
        "y": {"beginAtZero": True, "ticks": INK},
    },
    "plugins": {"legend": {"display": True, "position": "top", "align": "end", "labels": INK}},
}
