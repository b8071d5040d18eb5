"""API keys: making, limiting, rotating and revoking them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from billing.money import MICROS_PER_USD, micros
from modelpilot.accounts import keys as api_keys
from modelpilot.accounts.keys import Bounds
from modelpilot.accounts.models import ApiKey, Permission, User
from modelpilot.dashboard.samples import sample
from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.dashboard.tags import dollars
from modelpilot.fleet.catalog import cards
from modelpilot.jobs import budgets, usage
from modelpilot.jobs.budgets import Cap, Period, State

PERMISSIONS = [
    (Permission.READ, "Read: models, jobs, usage, balance"),
    (Permission.PROXY, "Proxy: the OpenAI-compatible routes"),
    (Permission.GENERATE, "Generate: the routes under /generate"),
]
PERIODS: dict[str, Period] = {"daily": "day", "monthly": "month"}
KEEP, NEVER = "keep", "never"
EXPIRIES = {"7": "In 7 days", "30": "In 30 days", "90": "In 90 days", "365": "In a year"}
OVERLAPS = {"0": "Not at all", "1": "For an hour", "24": "For a day", "168": "For a week"}
# More than anybody needs, and what fits the column.
MOST = 1_000_000


def dollar_field(label: str, help_text: str) -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        min_value=0,
        max_value=budgets.MOST // MICROS_PER_USD,
        decimal_places=6,
        required=False,
        help_text=help_text,
        widget=forms.NumberInput(attrs={"step": "any"}),
    )


class BoundsForm(forms.Form):
    """What a key may do at most."""

    allowed_models = forms.MultipleChoiceField(
        label="Models",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: all of them, and those to come.",
    )
    requests_per_minute = forms.IntegerField(
        min_value=1, max_value=MOST, required=False, help_text="Empty: no limit of its own."
    )
    concurrency = forms.IntegerField(
        label="Jobs at once",
        min_value=1,
        max_value=MOST,
        required=False,
        help_text="Queued and running. Empty: as many as your account may.",
    )
    daily = dollar_field("Dollars a day", "In UTC. Empty: as many as your account may.")
    monthly = dollar_field("Dollars a month", "Beyond it requests are refused.")
    mail_at = forms.IntegerField(
        label="Mail me at (%)",
        min_value=1,
        max_value=100,
        required=False,
        help_text="Of a budget. Empty: no mail.",
    )

    def __init__(self, *args: Any, key: ApiKey | None = None, **kwargs: Any) -> None:
        self.budgets: dict[str, State] = {}
        if key is not None:
            self.budgets = {budget.period: budget for budget in budgets.of_key(key)}
            percents = [budget.soft_percent for budget in self.budgets.values()]
            kwargs["initial"] = {
                "allowed_models": key.allowed_models or [],
                "requests_per_minute": key.requests_per_minute,
                "concurrency": key.concurrency,
                "mail_at": next(filter(None, percents), None),
                **{
                    name: plain(self.budgets[period].cap)
                    for name, period in PERIODS.items()
                    if period in self.budgets
                },
            }
        super().__init__(*args, **kwargs)
        # A model that the operator took away stays chosen until its owner unchooses it.
        known = dict.fromkeys([*cards().cards, *((key and key.allowed_models) or [])])
        field = self.fields["allowed_models"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(model, model) for model in known]

    def bounds(self) -> Bounds:
        given = self.cleaned_data
        bounds = Bounds(
            allowed_models=given["allowed_models"] or None,
            requests_per_minute=given["requests_per_minute"],
            concurrency=given["concurrency"],
        )
        if given["expires"] != KEEP:
            bounds["expires_at"] = expiry(given["expires"])
        return bounds

    def put_budgets(self, key: ApiKey) -> None:
        """Set the key's budgets where they are others than before."""
        for name, period in PERIODS.items():
            before, amount = self.budgets.get(period), self.cleaned_data[name]
            cap = None if amount is None else self.cap(before, micros(amount))
            if cap != (before and budgets.changed(before, before.cap)):
                budgets.put(key.user_id, period, cap, key=key.id)

    def cap(self, before: State | None, amount: int) -> Cap:
        """A budget with the mail that was chosen; one at an amount, set by API, stays."""
        percent = self.cleaned_data["mail_at"]
        cap = budgets.changed(before, amount)
        return replace(cap, soft_percent=percent, soft_amount=None if percent else cap.soft_amount)


def plain(amount: int) -> str:
    """Micro-dollars as a form's field has them: 5, 0.25."""
    return f"{Decimal(amount) / MICROS_PER_USD:f}"


class NewKeyForm(BoundsForm):
    name = forms.CharField(
        max_length=100, initial="default", help_text="What uses it: you see it beside each job."
    )
    permissions = forms.MultipleChoiceField(
        choices=PERMISSIONS,
        initial=Permission.values,
        widget=forms.CheckboxSelectMultiple,
    )
    expires = forms.ChoiceField(choices=[(NEVER, "Never"), *EXPIRIES.items()], initial=NEVER)
    field_order = ["name", "permissions", "expires"]


class LimitsForm(BoundsForm):
    expires = forms.ChoiceField(
        choices=[(KEEP, "As it is"), (NEVER, "Never"), *EXPIRIES.items()], initial=KEEP
    )


class RotateForm(forms.Form):
    overlap = forms.ChoiceField(
        choices=list(OVERLAPS.items()), initial="24", label="The old secret still works"
    )


def expiry(days: str) -> datetime | None:
    return None if days == NEVER else timezone.now() + timedelta(days=int(days))


@dataclass(frozen=True, slots=True)
class Row:
    """A key in the list; `spent` in micro-dollars this month (UTC)."""

    key: ApiKey
    spent: int
    requests: int
    budgets: list[State]

    @property
    def state(self) -> str:
        return state_of(self.key)

    @property
    def limits(self) -> list[str]:
        """What it may not do, in words."""
        key, said = self.key, []
        if set(key.permissions) != set(Permission.values):
            said.append(" and ".join(key.permissions) + " only")
        if key.allowed_models:
            said.append(", ".join(key.allowed_models))
        if key.requests_per_minute:
            said.append(f"{key.requests_per_minute:,} requests a minute")
        if key.concurrency:
            said.append(f"{key.concurrency:,} jobs at once")
        return said + [f"{dollars(budget.cap)} a {budget.period}" for budget in self.budgets]


def state_of(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= timezone.now():
        return "expired"
    return "works"


@signed_in
def keys(request: HttpRequest) -> HttpResponse:
    """All keys; a POST makes one and shows it, this once."""
    user = current_user(request)
    form = NewKeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            fresh = api_keys.create(
                user,
                name=form.cleaned_data["name"],
                permissions=form.cleaned_data["permissions"],
                **form.bounds(),
            )
            form.put_budgets(ApiKey.objects.get(digest=api_keys.digest(fresh)))
        return shown_once(request, fresh, form.cleaned_data["name"])
    context = {"form": form, "rows": rows(user), "asked": form.is_bound}
    return render(request, "dashboard/keys.html", context)


def rows(user: User) -> list[Row]:
    """Those that work first, the newest of them at the top."""
    found = made_rows(user, ApiKey.objects.filter(user=user).order_by("-id"))
    return sorted(found, key=lambda row: row.state != "works")


def made_rows(user: User, found: Iterable[ApiKey]) -> list[Row]:
    used, states = this_month(user), budgets.of_account(user.id)
    return [
        Row(key, *used.get(key.id, (0, 0)), [state for state in states if state.key == key.id])
        for key in found
    ]


def this_month(user: User) -> dict[int | None, tuple[int, int]]:
    """Micro-dollars and requests by key."""
    today = usage.today()
    report = usage.report(user.id, today.replace(day=1), today, ["key"])
    return {row["key"]: (row["cost"], row["requests"]) for row in report}


@signed_in
def key(request: HttpRequest, key_id: int) -> HttpResponse:
    """One key; a POST changes its limits."""
    user = current_user(request)
    found = find(user, key_id)
    form = LimitsForm(request.POST or None, key=found)
    if request.method == "POST" and found.revoked_at is None and form.is_valid():
        with transaction.atomic():
            api_keys.limit(found, **form.bounds())
            form.put_budgets(found)
        messages.success(request, "The limits hold for the next request.")
        return redirect("key", key_id)
    (row,) = made_rows(user, [found])
    context = {
        "row": row,
        "form": form,
        "rotation": RotateForm(),
    }
    return render(request, "dashboard/key.html", context)


@signed_in
@require_POST
def rotate(request: HttpRequest, key_id: int) -> HttpResponse:
    found = find(current_user(request), key_id)
    form = RotateForm(request.POST)
    if not form.is_valid() or found.revoked_at is not None:
        messages.error(request, "This key can't be rotated. Make another one.")
        return redirect("key", key_id)
    hours = int(form.cleaned_data["overlap"])
    fresh = api_keys.rotate(found, timedelta(hours=hours))
    return shown_once(request, fresh, found.name, OVERLAPS[str(hours)].lower())


@signed_in
@require_POST
def revoke(request: HttpRequest, key_id: int) -> HttpResponse:
    found = find(current_user(request), key_id)
    api_keys.revoke(found)
    messages.success(request, f"{found.name} is revoked: the next request with it is refused.")
    return redirect("keys")


def find(user: User, key_id: int) -> ApiKey:
    """The user's key; Http404 where it isn't theirs."""
    found = ApiKey.objects.filter(user=user, id=key_id).first()
    if found is None:
        raise Http404
    return found


def shown_once(
    request: HttpRequest, fresh: str, name: str, overlap: str | None = None
) -> HttpResponse:
    """The only answer that holds a key; it is kept by nobody (see shell.private)."""
    context = {"fresh": fresh, "name": name, "overlap": overlap, "sample": sample(fresh)}
    return render(request, "dashboard/key_made.html", context)
