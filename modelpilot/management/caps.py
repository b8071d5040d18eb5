"""The options of commands that set budgets: --daily, --monthly, --soft."""

from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import CommandError

from billing.money import micros, usd
from modelpilot.jobs import budgets
from modelpilot.jobs.budgets import Cap, Period, State

NONE = "none"
PERIODS: dict[str, Period] = {"daily": "day", "monthly": "month"}
NAMES: dict[str, str] = {period: name for name, period in PERIODS.items()}


def add_caps(parser: Any) -> None:
    for name, period in PERIODS.items():
        parser.add_argument(f"--{name}", help=f"USD that may be spent a {period} (UTC), or none")
    parser.add_argument("--soft", help="mail at this share of a budget (80%%) or USD, or none")


def put_caps(options: dict[str, Any], owner: int, key: int | None = None) -> bool:
    """Set the budgets that were given, of an account or a key; whether there were any."""
    now: dict[str, State] = {
        budget.period: budget for budget in budgets.of_account(owner) if budget.key == key
    }
    caps: dict[Period, Cap | None] = {}
    for name, period in PERIODS.items():
        if options[name] is not None:
            amount = dollars(f"--{name}", options[name])
            caps[period] = None if amount is None else budgets.changed(now.get(period), amount)
        elif options["soft"] is not None and period in now:
            caps[period] = budgets.changed(now[period], now[period].cap)
    if options["soft"] is not None:
        if not any(caps.values()):
            raise CommandError("--soft is about a budget: give --daily or --monthly too.")
        percent, amount = soft(options["soft"])
        for period, cap in caps.items():
            if cap is not None:
                caps[period] = replace(cap, soft_percent=percent, soft_amount=amount)
    for period, cap in caps.items():
        budgets.put(owner, period, cap, key=key)
    return bool(caps)


def dollars(option: str, text: str) -> int | None:
    """Micro-dollars of an amount in USD, or None of "none"."""
    if text == NONE:
        return None
    try:
        amount = micros(Decimal(text))
    except (InvalidOperation, ValueError, OverflowError):
        amount = -1
    if not 0 <= amount <= budgets.MOST:
        raise CommandError(f"{option} takes an amount in USD, such as 5.00, or none, not {text!r}.")
    return amount


def soft(text: str) -> tuple[int | None, int | None]:
    """The percent or the micro-dollars of "80%", "4.00" or "none"."""
    percent = text.removesuffix("%")
    if percent == text:
        return None, dollars("--soft", text)
    if not percent.isdecimal() or not 1 <= int(percent) <= 100:
        raise CommandError(f"--soft takes 1% to 100%, not {text!r}.")
    return int(percent), None


def line(budget: State) -> str:
    """`daily $1.20 of $5.00 (mail at $4.00)`."""
    mail = "" if budget.soft is None else f" (mail at ${usd(budget.soft):.2f})"
    spent, cap = usd(budget.spent), usd(budget.cap)
    return f"{NAMES[budget.period]} ${spent:.2f} of ${cap:.2f}{mail}"
