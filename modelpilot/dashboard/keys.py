"""API keys: making, limiting, rotating and revoking them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from modelpilot.accounts import keys as api_keys
from modelpilot.accounts.keys import Bounds
from modelpilot.accounts.models import ApiKey, Permission, User
from modelpilot.dashboard.samples import sample
from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.fleet.catalog import cards
from modelpilot.jobs import usage

PERMISSIONS = [
    (Permission.READ, "Read: models, jobs, usage, balance"),
    (Permission.PROXY, "Proxy: the OpenAI-compatible routes"),
    (Permission.GENERATE, "Generate: the routes under /generate"),
]
KEEP, NEVER = "keep", "never"
EXPIRIES = {"7": "In 7 days", "30": "In 30 days", "90": "In 90 days", "365": "In a year"}
OVERLAPS = {"0": "Not at all", "1": "For an hour", "24": "For a day", "168": "For a week"}
# More than anybody needs, and what fits the column.
MOST = 1_000_000


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

    def __init__(self, *args: Any, key: ApiKey | None = None, **kwargs: Any) -> None:
        if key is not None:
            kwargs["initial"] = {
                "allowed_models": key.allowed_models or [],
                "requests_per_minute": key.requests_per_minute,
                "concurrency": key.concurrency,
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
        return said


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
        fresh = api_keys.create(
            user,
            name=form.cleaned_data["name"],
            permissions=form.cleaned_data["permissions"],
            **form.bounds(),
        )
        return shown_once(request, fresh, form.cleaned_data["name"])
    context = {"form": form, "rows": rows(user), "asked": form.is_bound}
    return render(request, "dashboard/keys.html", context)


def rows(user: User) -> list[Row]:
    """Those that work first, the newest of them at the top."""
    used = this_month(user)
    found = [
        Row(key, *used.get(key.id, (0, 0)))
        for key in ApiKey.objects.filter(user=user).order_by("-id")
    ]
    return sorted(found, key=lambda row: row.state != "works")


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
        api_keys.limit(found, **form.bounds())
        messages.success(request, "The limits hold for the next request.")
        return redirect("key", key_id)
    spent, requests = this_month(user).get(found.id, (0, 0))
    context = {
        "row": Row(found, spent, requests),
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
