"""What a month came to, by day, model and key."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from modelpilot.dashboard import chart
from modelpilot.dashboard.chart import Columns, Series
from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.dashboard.tags import dollars
from modelpilot.jobs import usage as used

MOST_MONTHS = 60

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Measure:
    """What the chart counts."""

    name: str
    label: str
    of: Callable[[dict[str, Any]], int]
    write: Callable[[Any], str]


def counted(number: float) -> str:
    return f"{number:,.0f}"


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("cost", "Cost", lambda row: row["cost"], lambda micros: dollars(round(micros))),
        Measure("requests", "Requests", lambda row: row["requests"], counted),
        Measure("tokens", "Tokens", lambda row: row["tokens_in"] + row["tokens_out"], counted),
    )
}
GROUPS = {"model": "Model", "key": "Key"}


@dataclass(slots=True)
class Sum:
    """A line of a table; `cost` in micro-dollars."""

    label: str
    counts: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(used.COUNTS, 0))

    def add(self, row: dict[str, Any]) -> None:
        for name in used.COUNTS:
            self.counts[name] += row[name]


@signed_in
def usage(request: HttpRequest) -> HttpResponse:
    owner = current_user(request).id
    months = months_of(owner)
    first = next((month for month in months if f"{month:%Y-%m}" == request.GET.get("month")), None)
    first = first or months[0]
    last = min(next_month(first) - timedelta(days=1), used.today())
    measure = MEASURES.get(request.GET.get("show", ""), MEASURES["cost"])
    group = request.GET.get("by", "") if request.GET.get("by") in GROUPS else "model"
    by_model = used.report(owner, first, last, ["day", "model"])
    by_key = used.report(owner, first, last, ["day", "key"])
    name_keys(by_key)
    rows = by_key if group == "key" else by_model
    total = Sum("Total")
    for row in by_model:
        total.add(row)
    context = {
        "months": months,
        "first": first,
        "last": last,
        "measures": MEASURES.values(),
        "measure": measure,
        "groups": GROUPS,
        "group": group,
        "chart": daily(rows, measure, group, first, last),
        "total": total,
        "tables": [
            ("Model", sums(by_model, lambda row: row["model"])),
            ("Key", sums(by_key, lambda row: row["key"])),
        ],
        "days": sums(by_model, lambda row: f"{row['day']:%Y-%m-%d}", by_cost=False),
    }
    return render(request, "dashboard/usage.html", context)


def name_keys(rows: Rows) -> None:
    """Call keys by their names instead of their ids, and with both where two have one name."""
    names = {row["key"]: row["key_name"] for row in rows}
    times = Counter(names.values())
    for row in rows:
        key, name = row["key"], row["key_name"]
        alone = name and times[name] == 1
        row["key"] = "This site" if key is None else name if alone else f"{name or 'Key'} {key}"


def months_of(owner: int) -> list[date]:
    """First days of the months in which something may have been used, the latest first."""
    this = used.today().replace(day=1)
    begun = used.first_day(owner) or this
    months = [this]
    while months[-1] > begun and len(months) < MOST_MONTHS:
        months.append((months[-1] - timedelta(days=1)).replace(day=1))
    return months


def next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def daily(rows: Rows, measure: Measure, group: str, first: date, last: date) -> Columns:
    """A column for each day of the month, also of those to come: months look alike."""
    days = [first + timedelta(days=number) for number in range((next_month(first) - first).days)]
    counts: dict[str, dict[date, int]] = {}
    for row in rows:
        counts.setdefault(row[group], dict.fromkeys(days, 0))[row["day"]] += measure.of(row)
    series = [Series(name, list(of_day.values())) for name, of_day in counts.items()]
    title = f"{measure.label} by {group}"
    return chart.columns(
        "usage", title, [f"{day:%b} {day.day}" for day in days], series, measure.write
    )


def sums(
    rows: Iterable[dict[str, Any]], label: Callable[[dict[str, Any]], str], *, by_cost: bool = True
) -> list[Sum]:
    """One for each label: the dearest first, or the last label first."""
    found: dict[str, Sum] = {}
    for row in rows:
        found.setdefault(label(row), Sum(label(row))).add(row)
    if by_cost:
        return sorted(found.values(), key=lambda each: (-each.counts["cost"], each.label))
    return sorted(found.values(), key=lambda each: each.label, reverse=True)
