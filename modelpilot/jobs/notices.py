"""Mails about money: a budget is nearly spent, a balance is low. Each goes out once.

Housekeeping looks once a minute; no request waits for a mail. A row says that a mail went out
before it does, so that two processes never send it twice; a server that does not take it gets it
again a minute later.
"""

import logging
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now
from django.template.loader import render_to_string
from django.utils import timezone

from billing import ledger
from billing.models import Account, LowBalance
from modelpilot.accounts.models import User
from modelpilot.jobs import budgets
from modelpilot.jobs.models import Budget

log = logging.getLogger(__name__)

# Above it a budget's owner gets a mail: see Budget.
SOFT = Coalesce("soft_amount", F("cap") * F("soft_percent") / 100)


def send() -> None:
    """One round; any number of processes may do it at once. Without a mail server nothing is
    sent, nor called sent."""
    if not settings.EMAIL_URL:
        return
    tell_of_budgets()
    tell_of_balances()


def tell_of_budgets() -> None:
    for budget in nearly_spent().select_related("owner", "key"):
        now = budgets.state(budget)
        # Whoever changes the row sends the mail.
        if not nearly_spent().filter(id=budget.id, start=budget.start).update(told=budget.start):
            continue
        told = mail(
            budget.owner,
            "mail/budget",
            budget=now,
            daily={"day": "daily", "month": "monthly"}[now.period],
            key=budget.key,
            cap=dollars(now.cap),
            spent=dollars(now.spent),
        )
        if not told:
            Budget.objects.filter(id=budget.id, told=budget.start).update(told=None)


def nearly_spent() -> Any:
    """The budgets over their soft limit, of whose period nothing was told yet."""
    today = timezone.now().date()
    current = Q()
    for period in Budget.Period.values:
        current |= Q(period=period, start__gte=budgets.first_day(period, today))
    return Budget.objects.filter(current, spent__gte=SOFT).exclude(told=F("start"))


def tell_of_balances() -> None:
    recovered = low_balances(told_at__isnull=False).filter(balance__gte=F("threshold"))
    for low in recovered:
        LowBalance.objects.filter(owner=low.owner_id, told_at=low.told_at).update(told_at=None)
    for low in low_balances(told_at=None).filter(balance__lt=F("threshold")):
        if not LowBalance.objects.filter(owner=low.owner_id, told_at=None).update(told_at=Now()):
            continue
        told = mail(
            low.owner,
            "mail/low_balance",
            balance=dollars(ledger.balance(low.owner_id).balance),
            threshold=dollars(low.threshold),
        )
        if not told:
            LowBalance.objects.filter(owner=low.owner_id).update(told_at=None)


def low_balances(**chosen: Any) -> Any:
    """With their owners' `balance`: what was really charged counts, not what jobs hold."""
    return (
        LowBalance.objects.filter(owner__accounts__code=Account.Code.USER, **chosen)
        .annotate(
            balance=F("owner__accounts__credits_posted") - F("owner__accounts__debits_posted")
        )
        .select_related("owner")
    )


def mail(user: User, name: str, **context: Any) -> bool:
    """Send the template `name` to a user, its first line as the subject; whether it went."""
    context["billing_url"] = f"{settings.PUBLIC_URL}/dashboard/billing"
    subject, _, text = render_to_string(f"{name}.txt", context).partition("\n")
    try:
        send_mail(" ".join(subject.split()), text.lstrip("\n"), None, [user.email])
    except (OSError, SMTPException) as error:
        log.warning("A mail to account %d did not go out: %s", user.id, error)
        return False
    return True


def dollars(amount: int) -> str:
    return f"${amount / 1_000_000:.2f}"
