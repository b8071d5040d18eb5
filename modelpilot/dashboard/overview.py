"""The first page after signing in: money, what models did of late, and the latest jobs."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from billing import payments
from modelpilot.accounts.models import ApiKey
from modelpilot.dashboard import chart
from modelpilot.dashboard.chart import Columns, Part, Series
from modelpilot.dashboard.jobs import Line
from modelpilot.dashboard.samples import sample
from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.dashboard.tags import seconds
from modelpilot.jobs import latency, listing, usage
from modelpilot.jobs.latency import Latency

RANGES = (7, 30, 90)
USUAL_DAYS = 30
LATEST_JOBS = 8

Rows = list[dict[str, Any]]


@signed_in
def overview(request: HttpRequest) -> HttpResponse:
    user = current_user(request)
    days = days_of(request)
    last = usage.today()
    first = last - timedelta(days=days - 1)
    rows = usage.report(user.id, first, last, ["day", "model"])
    asked = daily("requests", "Requests", rows, "requests", first, last)
    page = listing.page(user.id, limit=LATEST_JOBS)
    today, month = usage.spend(user.id)
    keys = list(ApiKey.objects.filter(user=user).order_by("-id")[:100])
    context = {
        "today": today,
        "month": month,
        "days": days,
        "ranges": RANGES,
        "requests": sum(row["requests"] for row in rows),
        "errors": sum(row["failed"] for row in rows),
        "charts": [
            asked,
            daily("errors", "Errors", rows, "failed", first, last, asked.colours),
        ],
        "paces": paces(latency.of(user.id)),
        "latest": latency.LATEST,
        "rows": [Line(job, {key.id: key.name for key in keys}) for job in page.jobs],
        "payments": payments.configured(),
        "has_key": any(key.revoked_at is None for key in keys),
        # Asked for only where there is no job yet.
        "sample": sample,
    }
    return render(request, "dashboard/overview.html", context)


def days_of(request: HttpRequest) -> int:
    asked = request.GET.get("days", "")
    return int(asked) if asked in map(str, RANGES) else USUAL_DAYS


def daily(
    name: str,
    title: str,
    rows: Rows,
    count: str,
    first: date,
    last: date,
    colours: dict[str, int] | None = None,
) -> Columns:
    """A count of each day from `first` to `last`, by model."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    counts: dict[str, dict[date, int]] = {}
    for row in rows:
        counts.setdefault(row["model"], {})[row["day"]] = row[count]
    series = [
        Series(model, [of_day.get(day, 0) for day in days]) for model, of_day in counts.items()
    ]
    labels = [f"{day:%b} {day.day}" for day in days]
    return chart.columns(name, title, labels, series, counted, colours)


def counted(number: float) -> str:
    return f"{number:,.0f}"


@dataclass(frozen=True, slots=True)
class Pace:
    """A model's latency, and the bar of it: as far as the median, and on to the 95th percentile,
    beside the slowest model's."""

    latency: Latency
    parts: list[Part]


def paces(found: list[Latency]) -> list[Pace]:
    longest = max((each.p95 for each in found), default=0.0)
    return [
        Pace(
            each,
            chart.parts([("p50", each.p50), ("p95", each.p95 - each.p50)], seconds, longest),
        )
        for each in sorted(found, key=lambda each: -each.jobs)
    ]
