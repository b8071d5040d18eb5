"""What was used, by day, model and key, as JSON and as a table for spreadsheets."""

import csv
import io
from datetime import date, timedelta
from typing import Annotated, Any, Literal

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Query, Router
from pydantic import Field

from billing.money import usd
from modelpilot.api.answers.account import Used
from modelpilot.api.answers.shapes import ListOf
from modelpilot.api.auth import Key, principal_of
from modelpilot.api.openapi import sends
from modelpilot.api.schemas import spelled
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import usage
from modelpilot.jobs.usage import COUNTS, GROUPS, Group

router = Router(tags=["Account"])

# Nobody used anything outside, and there a day is soon no day.
Day = Annotated[date, Field(ge=date(2000, 1, 1), le=date(2999, 12, 31))]
# How far back, if nobody says.
DAYS = 30
MOST_DAYS = 366
GROUPING = "^({0})(,({0}))*$".format("|".join(GROUPS))
# What a spreadsheet takes for a formula when a cell begins with it.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@router.get(
    "/usage",
    auth=Key("read"),
    summary="Read usage",
    response=ListOf[Used],
    openapi_extra=sends("text/csv"),
)
async def read_usage(
    request: HttpRequest,
    first: Annotated[Day | None, Query(alias="from")] = None,
    last: Annotated[Day | None, Query(alias="to")] = None,
    group_by: Annotated[str, Field(max_length=60), spelled(pattern=GROUPING)] = "day",
    format: Literal["json", "csv"] | None = None,  # noqa: A002 - the parameter's name
) -> HttpResponseBase:
    """What your jobs that ended on the days `from` to `to` (UTC; the last 30, unless you say)
    came to. `group_by` names `day`, `model` and `key`, separated by commas. With `format=csv` or
    `Accept: text/csv` as a table."""
    groups = groups_of(group_by)
    last = last or usage.today()
    first = first or last - timedelta(days=DAYS - 1)
    check_days(first, last)
    rows = await hop(usage.report, principal_of(request).user_id, first, last, groups)
    if format == "csv" or (format is None and prefers_csv(request)):
        return table(groups, rows)
    for row in rows:
        row["cost"], row["seconds"] = usd(row["cost"]), round(row["seconds"], 3)
    answer = orjson.dumps({"object": "list", "data": rows})
    return HttpResponse(answer, content_type="application/json")


def groups_of(text: str) -> list[Group]:
    """The named groups, each once; ApiError 422 for any other."""
    names = [name.strip() for name in text.split(",")]
    groups = [group for group in GROUPS if group in names]
    if set(names) != set(groups):
        raise ApiError(
            422,
            "invalid_value",
            f"'group_by' takes some of {', '.join(GROUPS)}, separated by commas.",
            param="group_by",
        )
    return sorted(groups, key=names.index)


def check_days(first: date, last: date) -> None:
    if first > last:
        raise ApiError(422, "invalid_value", "'from' must not be later than 'to'.", param="from")
    if (last - first).days >= MOST_DAYS:
        raise ApiError(
            422,
            "invalid_value",
            f"From 'from' to 'to' are at most {MOST_DAYS} days. Ask for a part of them.",
            param="from",
        )


def prefers_csv(request: HttpRequest) -> bool:
    return request.get_preferred_type(["application/json", "text/csv"]) == "text/csv"


def table(groups: list[Group], rows: list[dict[str, Any]]) -> HttpResponseBase:
    """The rows as CSV (RFC 4180), in which no cell is a formula."""
    columns = [name for group in groups for name in (group, *NAMED.get(group, ()))]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*columns, *COUNTS])
    for row in rows:
        counts = {**row, "cost": f"{usd(row['cost']):.6f}", "seconds": f"{row['seconds']:.3f}"}
        writer.writerow(
            [*(harmless(row[name]) for name in columns), *(counts[name] for name in COUNTS)]
        )
    response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="usage.csv"'
    return response


# What stands beside a group.
NAMED: dict[Group, tuple[str, ...]] = {"key": ("key_name",)}


def harmless(cell: Any) -> Any:
    """A cell's text, quoted if a spreadsheet would run it: people name their own keys."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
