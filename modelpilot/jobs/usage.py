"""What an account has used: read from the counts that ending jobs keep, never from the jobs."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Literal, get_args

from django.db.models import Q, Sum
from django.utils import timezone

from modelpilot.accounts.models import ApiKey
from modelpilot.jobs.models import Usage

Group = Literal["day", "model", "key"]
GROUPS: tuple[Group, ...] = get_args(Group)
COUNTS = ("requests", "succeeded", "failed", "cost", "tokens_in", "tokens_out", "seconds")
LATE = timedelta(days=90)


def today() -> date:
    """The day, in UTC, that a job would be counted on."""
    return timezone.now().date()


def report(owner: int, first: date, last: date, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The sums of the days `first` to `last` by `groups`, in the order of these.

    A row has its groups (`key` is an id, with `key_name` beside it) and COUNTS, of which
    `cost` is in micro-dollars.
    """
    rows = (
        Usage.objects.filter(owner=owner, day__range=(first, last))
        .values(*groups)
        .annotate(**{f"sum_{name}": Sum(name) for name in COUNTS})
        .order_by(*groups)
        .values_list(*groups, *(f"sum_{name}" for name in COUNTS))
    )
    told = [dict(zip((*groups, *COUNTS), row, strict=True)) for row in rows]
    if "key" in groups:
        names = key_names(owner)
        for row in told:
            row["key_name"] = names.get(row["key"])
    return told


def key_names(owner: int) -> dict[int, str]:
    return dict(ApiKey.objects.filter(user=owner).values_list("id", "name"))


def spend(owner: int, key: int | None = None) -> tuple[int, int]:
    """Micro-dollars that jobs of the key, or all of the owner's, cost that ended today, and since
    the month began."""
    now = today()
    of_key = Usage.objects.filter(owner=owner, day__gte=now.replace(day=1))
    if key is not None:
        of_key = of_key.filter(key=key)
    sums = of_key.aggregate(
        today=Sum("cost", filter=Q(day=now), default=0), month=Sum("cost", default=0)
    )
    return sums["today"], sums["month"]


def models(owner: int) -> list[str]:
    """The models that the owner's jobs of late were of."""
    late = Usage.objects.filter(owner=owner, day__gte=today() - LATE)
    return list(late.values_list("model", flat=True).distinct().order_by("model"))


def first_day(owner: int) -> date | None:
    """When the owner's first job ended, or None."""
    return Usage.objects.filter(owner=owner).order_by("day").values_list("day", flat=True).first()
