"""What accounts and their keys may spend a day and a month: setting it, reading it, refusing.

The counting is done by the statements that take and settle a job's money (see sql.py).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from billing import ledger
from billing.models import Account, LowBalance
from billing.money import micros, usd
from modelpilot.accounts import audit
from modelpilot.accounts.models import ApiKey
from modelpilot.errors import ApiError
from modelpilot.jobs.models import Budget, Job, Usage

Period = Literal["day", "month"]
# More than anybody has, and less than what a counter holds.
MOST = micros("1000000000")
UNDER_WAY = (Job.State.QUEUED, Job.State.RUNNING)


@dataclass(frozen=True, slots=True)
class Cap:
    """What may be spent in a period, in micro-dollars, and when to mail before that: at
    `soft_percent` of it, or at `soft_amount`, or never."""

    amount: int
    soft_percent: int | None = None
    soft_amount: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A budget as it is now. Micro-dollars; `spent` includes what jobs under way hold."""

    id: int
    key: int | None
    period: str
    cap: int
    spent: int
    soft: int | None
    soft_percent: int | None
    start: date
    renews_at: datetime

    @property
    def remaining(self) -> int:
        return max(0, self.cap - self.spent)


def changed(now: State | None, amount: int) -> Cap:
    """A cap of another amount, with the soft limit that there was."""
    if now is None:
        return Cap(amount)
    return Cap(amount, now.soft_percent, None if now.soft_percent is not None else now.soft)


def put(owner: int, period: Period, cap: Cap | None, *, key: int | None = None) -> None:
    """Set what the owner, or one key of theirs, may spend a `period`; None ends the budget.

    Holds for the next request. A new one begins with what was spent in the period so far and is
    held now; what these jobs then need less does not come back to it, as who ends one at this
    moment can't see it yet. The caller has made sure that the key is the owner's.
    """
    with transaction.atomic():
        # Every hold, and every job's end, of this owner waits for us or is counted below.
        account = ledger.locked(owner)
        mine = Budget.objects.filter(owner=owner, key=key, period=period)
        if cap is None:
            mine.delete()
        else:
            terms = {
                "cap": cap.amount,
                "soft_percent": cap.soft_percent,
                "soft_amount": cap.soft_amount,
            }
            # Other terms may be told of again in the same period.
            mine.exclude(**terms).update(**terms, told=None)
            if not mine.exists():
                start = first_day(period, timezone.now().date())
                spent = so_far(owner, key, start)
                Budget.objects.create(
                    owner_id=owner,
                    key_id=key,
                    period=period,
                    start=start,
                    spent=spent,
                    carried=spent,
                    **terms,
                )
        audit.record(
            "budget.put",
            f"user {owner}" if key is None else f"key {key} of user {owner}",
            period=period,
            cap=None if cap is None else asdict(cap),
        )
        budgeted = Budget.objects.filter(owner=owner).exists()
        Account.objects.filter(id=account.id).update(budgeted=budgeted)


def warn_below(owner: int, threshold: int | None) -> None:
    """Mail the owner once the balance falls below so many micro-dollars; None: never."""
    if threshold is None:
        LowBalance.objects.filter(owner=owner).delete()
    else:
        LowBalance.objects.update_or_create(owner_id=owner, defaults={"threshold": threshold})


def so_far(owner: int, key: int | None, start: date) -> int:
    """Micro-dollars that jobs cost which ended since `start`, and that those under way hold."""
    ended = Usage.objects.filter(owner=owner, day__gte=start)
    live = Job.objects.filter(owner=owner, state__in=UNDER_WAY)
    if key is not None:
        ended, live = ended.filter(key=key), live.filter(key=key)
    spent: int = ended.aggregate(sum=Sum("cost", default=0))["sum"]
    held: int = live.aggregate(sum=Sum("price", default=0))["sum"]
    return spent + held


def first_day(period: str, day: date) -> date:
    return day.replace(day=1) if period == Budget.Period.MONTH else day


def renewal(period: str, start: date) -> datetime:
    """When the period that began at `start` is over."""
    over = start + timedelta(days=1)
    if period == Budget.Period.MONTH:
        over = (start + timedelta(days=31)).replace(day=1)
    return timezone.make_aware(datetime.combine(over, time()))


def state(budget: Budget) -> State:
    current = first_day(budget.period, timezone.now().date())
    soft = budget.soft_amount
    if budget.soft_percent is not None:
        soft = budget.cap * budget.soft_percent // 100
    return State(
        id=budget.id,
        key=budget.key_id,
        period=budget.period,
        cap=budget.cap,
        spent=budget.spent if budget.start >= current else 0,
        soft=soft,
        soft_percent=budget.soft_percent,
        start=max(budget.start, current),
        renews_at=renewal(budget.period, max(budget.start, current)),
    )


def of_account(owner: int) -> list[State]:
    """All budgets of an owner: the account's own first, then its keys'."""
    return states(Budget.objects.filter(owner=owner))


def of_key(key: ApiKey) -> list[State]:
    """The budgets of the key alone; those of its account apply too."""
    return states(Budget.objects.filter(owner=key.user_id, key=key))


def applying(owner: int, key: int | None) -> list[State]:
    """The budgets that a request under this key must fit into."""
    return states(Budget.objects.filter(Q(key=None) | Q(key=key), owner=owner))


def states(found: Iterable[Budget]) -> list[State]:
    order = {Budget.Period.DAY: 0, Budget.Period.MONTH: 1}
    return sorted(
        map(state, found), key=lambda each: (each.key or 0, order[Budget.Period(each.period)])
    )


def body(budget: State) -> dict[str, Any]:
    """A budget as the API shows it, in USD."""
    return {
        "object": "budget",
        "key": budget.key,
        "period": budget.period,
        "cap": usd(budget.cap),
        "spent": usd(budget.spent),
        "remaining": usd(budget.remaining),
        "soft_limit": None if budget.soft is None else usd(budget.soft),
        "renews_at": int(budget.renews_at.timestamp()),
    }


def exceeded(price: int, budget: State) -> ApiError:
    """That a request of `price` micro-dollars does not fit into a budget."""
    whose = "of your account" if budget.key is None else "of this API key"
    name = {"day": "daily", "month": "monthly"}[budget.period]
    return ApiError(
        402,
        "budget_exceeded",
        f"This request needs ${usd(price):g}. The {name} budget {whose} is ${usd(budget.cap):g}, "
        f"and ${usd(budget.spent):g} of it is spent or held by jobs under way. It renews at "
        f"{budget.renews_at:%Y-%m-%d %H:%M} UTC; the account's owner can raise it.",
        type="insufficient_quota",
        detail={"required": usd(price), "budget": body(budget)},
    )
