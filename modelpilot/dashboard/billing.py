"""The account's money: what there is, how more comes, and where it went."""

import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from billing import ledger, payments, purchases, statement
from billing.models import LowBalance, Purchase
from billing.money import MICROS_PER_USD
from billing.purchases import BONUS_PERCENT
from billing.statement import Entry
from modelpilot.accounts.models import User
from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.dashboard.statement import WORDS
from modelpilot.jobs import budgets, listing, usage
from modelpilot.jobs import statement as monthly
from modelpilot.jobs.budgets import State

SESSION = re.compile(r"cs_[A-Za-z0-9_]{10,200}")
# USD; any other amount from the first one on can be bought too.
PRESETS = (5, 10, 25, 50, 100)
PURCHASES = 5
MOVES = 25
MONTHS = 12
STATES = {
    "open": ("Not paid yet", ""),
    "processing": ("On its way", "info live"),
    "paid": ("Paid", "ok"),
    "expired": ("Given up", ""),
    "failed": ("Failed", "bad"),
    "mismatched": ("Being looked at", "warn"),
}


@dataclass(frozen=True, slots=True)
class Bought:
    """A purchase as a line of the page."""

    purchase: Purchase
    word: str
    colour: str
    refunded: int


@dataclass(frozen=True, slots=True)
class Move:
    """A move of money as a line of the page; `url` leads to what it is about, for a charge the job
    of `model`."""

    entry: Entry
    word: str
    url: str = ""
    model: str = ""


@signed_in
def billing(request: HttpRequest) -> HttpResponse:
    user = current_user(request)
    owner = user.id
    bought, more_bought = bought_by(owner, request.GET.get("purchases"))
    moves, more_moves = moves_of(owner, request.GET.get("before"))
    caps = caps_of(owner)
    context = {
        "spent": usage.spend(owner)[1],
        # Asked for only where the account is frozen.
        "freezes": lambda: ledger.freezes(owner),
        "payments": payments.configured(),
        "bonus": BONUS_PERCENT if purchases.bonus_for(owner, MICROS_PER_USD) else 0,
        "presets": PRESETS,
        "bought": bought,
        "more_bought": more_bought,
        "moves": moves,
        "more_moves": more_moves,
        "months": months_of(user),
        "caps": caps,
        "soft": next((each.soft_percent for _, _, each in caps if each), None),
        "low": LowBalance.objects.filter(owner=owner).first(),
    }
    return render(request, "dashboard/billing.html", context)


def bought_by(owner: int, after: str | None) -> tuple[list[Bought], Any]:
    """A page of purchases, and the last one's id where there are more."""
    rows = purchases.of(owner, limit=PURCHASES + 1, after=after)
    if rows is None:
        raise Http404
    page = rows[:PURCHASES]
    return list(map(bought, page)), page[-1].id if len(rows) > PURCHASES else None


def bought(purchase: Any) -> Bought:
    """Of what `purchases.of` answers."""
    refunded = purchase.reversed or 0
    state = STATES[purchase.state]
    if purchase.disputed:
        state = ("Disputed", "bad")
    elif refunded:
        state = ("Refunded" if refunded == purchase.amount else "Refunded in part", "")
    return Bought(purchase, *state, refunded)


def moves_of(owner: int, before: str | None) -> tuple[list[Move], int | None]:
    """A page of the ledger, and where the next one begins."""
    if before is not None and not re.fullmatch(r"\d{1,18}", before):
        raise Http404
    found = statement.entries(
        owner, limit=MOVES + 1, before=None if before is None else int(before)
    )
    page = found[:MOVES]
    models = listing.models_of(owner, [each.reference for each in page if each.type == "charge"])
    moves = [line(each, models.get(each.reference, "")) for each in page]
    return moves, page[-1].id if len(found) > MOVES else None


def months_of(user: User) -> list[date]:
    """The months that have a statement, newest first; a year of them at most."""
    month = timezone.now().date().replace(day=1)
    found: list[date] = []
    while len(found) < MONTHS and month >= user.created_at.date().replace(day=1):
        found.append(month)
        month = (month - timedelta(days=1)).replace(day=1)
    return found


def caps_of(owner: int) -> list[tuple[str, str, State | None]]:
    """(period, its name, budget) of the account itself; its keys' are on their pages."""
    mine = {each.period: each for each in budgets.of_account(owner) if each.key is None}
    return [("day", "Daily", mine.get("day")), ("month", "Monthly", mine.get("month"))]


@signed_in
def month(request: HttpRequest, name: str) -> HttpResponse:
    """Leads to the page of a month that prints, whose link is good for fifteen minutes."""
    first = monthly.first_of(name)
    if first is None:
        raise Http404
    return redirect("statement", monthly.link(current_user(request).id, first))


def line(entry: Entry, model: str) -> Move:
    if entry.type == "charge":
        return Move(entry, "Job", job_url(entry.reference), model)
    return Move(entry, WORDS.get(entry.type, entry.type.replace("_", " ").capitalize()))


def job_url(reference: str) -> str:
    """The page of the job that a charge was for."""
    with suppress(ValueError, NoReverseMatch):
        return reverse("job", args=[uuid.UUID(reference)])
    return ""


def success(request: HttpRequest) -> HttpResponse:
    """Where Stripe sends the customer after paying: the credit is there when the page is.

    The session's id is a secret between Stripe, the customer and us: it opens this page.
    """
    session = request.GET.get("session_id", "")
    purchase = known(session) if SESSION.fullmatch(session) else None
    if purchase is not None and purchase.state != Purchase.State.PAID:
        # Else the webhook or the reconciler will; the page says that it takes a while.
        with suppress(payments.Unavailable, payments.Refused, payments.UnknownSession):
            purchase = purchases.fulfil(session)
    return page(request, purchase)


def known(session: str) -> Purchase | None:
    return Purchase.objects.filter(session=session).first()


def page(request: HttpRequest, purchase: Purchase | None) -> HttpResponse:
    """In the dashboard's frame for who bought; anybody else with the link may not be signed in."""
    mine = purchase is not None and purchase.owner_id == getattr(request.user, "id", None)
    context: dict[str, Any] = {"frame": "dashboard.html" if mine else "entrance.html"}
    if purchase is not None:
        context |= {"purchase": purchase, "available": ledger.balance(purchase.owner_id).available}
    response = render(
        request, "billing_success.html", context, status=404 if purchase is None else 200
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
