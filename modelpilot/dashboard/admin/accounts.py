"""Accounts and their keys, and what was changed by whom."""

from datetime import timedelta
from typing import Any

from django import forms
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminEmailInputWidget

from billing import ledger
from billing.models import Account, Freeze, Purchase, Transfer
from modelpilot.accounts import audit, credit, keys, registration
from modelpilot.accounts.models import ApiKey, AuditEntry, Invitation, Registration, User
from modelpilot.dashboard.admin.asking import (
    DANGER,
    PRIMARY,
    Acting,
    Asked,
    Refused,
    WithReason,
    amount,
    asks,
    chosen,
    micro_dollars,
    shown_once,
    whole,
)
from modelpilot.dashboard.admin.listing import NOTHING, Listing, link_to, list_of, shown
from modelpilot.dashboard.keys import PERIODS, plain
from modelpilot.dashboard.tags import dollars
from modelpilot.jobs import budgets, usage
from modelpilot.jobs.budgets import State
from modelpilot.jobs.models import Job

ROLES = ("is_active", "is_staff", "can_deploy")
STATES = {"active": "success", "waits": "info", "frozen": "danger", "shut out": "warning"}
WORDS = {"is_active": "May sign in", "is_staff": "Operator", "can_deploy": "May deploy models"}


class Grant(WithReason):
    usd = amount("USD")
    field_order = ("usd", "reason")


class Caps(Asked):
    """What an account may spend; its owner may change it as well."""

    daily = amount("USD a day", required=False, help_text="In UTC. Empty: no cap.")
    monthly = amount("USD a month", required=False, help_text="Past a cap requests are refused.")

    def __init__(self, request: HttpRequest, object_id: str, *args: Any, **how: Any) -> None:
        try:
            self.now = caps_of(int(object_id))
        except ValueError:
            self.now = {}  # no account's number: when it is sent, nothing is there
        caps = {name: self.now.get(period) for name, period in PERIODS.items()}
        initial = {name: plain(cap.cap) for name, cap in caps.items() if cap}
        super().__init__(request, object_id, *args, **{"initial": initial, **how})


def caps_of(owner: int) -> dict[str, State]:
    """The account's own budgets, by period."""
    return {each.period: each for each in budgets.of_account(owner) if each.key is None}


class UserAdmin(Acting, Listing):
    list_display = ("email", "available", "state", "roles", "created_at", "last_login")
    list_filter = ("waiting", "is_active", "is_staff", "can_deploy")
    searched_by = "The beginning of an e-mail address, or an account's number"
    changeable = ROLES
    fieldsets = (
        (None, {"fields": ("email", "created_at", "last_login", *ROLES)}),
        ("Money", {"fields": ("balance", "spent", "caps", "freezes", "money")}),
        ("More of this account", {"fields": ("more",)}),
    )
    readonly_fields = (
        "email",
        "created_at",
        "last_login",
        "balance",
        "spent",
        "caps",
        "freezes",
        "money",
        "more",
    )
    actions_detail = ("approve", "grant_credit", "budget", "freeze", "unfreeze", "write_off")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        account = Account.objects.filter(owner=OuterRef("id"), code=Account.Code.USER)
        free = F("credits_posted") - F("debits_posted") - F("debits_pending")
        rows: QuerySet[User] = super().get_queryset(request)
        return rows.annotate(
            free=Subquery(account.annotate(free=free).values("free")),
            is_frozen=Subquery(account.values("frozen")),
        )

    def search(self, rows: QuerySet[User], text: str) -> QuerySet[User]:
        named = Q(email__startswith=text.lower())
        return rows.filter(named | Q(id=int(text)) if text.isdecimal() else named)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Nobody shuts themselves out; who waits is approved, and what is closed stays so."""
        if obj is None or obj.closed_at is not None:
            return (*self.readonly_fields, *ROLES)
        if obj == request.user:
            return (*self.readonly_fields, "is_active", "is_staff")
        return (*self.readonly_fields, *(["is_active"] if obj.waiting else []))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **how: Any) -> Any:
        if db_field.name in WORDS:
            how["label"] = WORDS[db_field.name]
        return super().formfield_for_dbfield(db_field, request, **how)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: Any) -> None:
        changed = {name: form.cleaned_data[name] for name in form.changed_data}
        if changed:
            obj.is_superuser = obj.is_staff
            obj.save(update_fields=[*changed, "is_superuser"])
            audit.record("account.role", obj, **changed)

    @shown("Available")
    def available(self, user: Any) -> str:
        return dollars(user.free)

    @shown("State", label=STATES)
    def state(self, user: Any) -> str:
        if user.closed_at is not None:
            return "closed"
        if not user.is_active:
            return "waits" if user.waiting else "shut out"
        return "frozen" if user.is_frozen else "active"

    @shown("Roles")
    def roles(self, user: User) -> str:
        held = {"operator": user.is_staff, "deploys": user.can_deploy}
        return ", ".join(name for name, has in held.items() if has) or NOTHING

    @shown("Balance")
    def balance(self, user: User) -> str:
        now = ledger.balance(user.id)
        debt = f", {dollars(now.debt)} owed" if now.debt else ""
        return f"{dollars(now.available)} available, {dollars(now.held)} held by jobs{debt}"

    @shown("Spent")
    def spent(self, user: User) -> str:
        today, month = usage.spend(user.id)
        return f"{dollars(today)} today, {dollars(month)} this month (UTC)"

    @shown("Budgets")
    def caps(self, user: User) -> str:
        found = caps_of(user.id).values()
        said = [f"{dollars(each.spent)} of {dollars(each.cap)} a {each.period}" for each in found]
        return ", ".join(said) or NOTHING

    @shown("Frozen because")
    def freezes(self, user: User) -> SafeString | str:
        found = Freeze.objects.filter(owner=user, lifted_at=None).order_by("id")
        rows = ((f"{each.created_at:%Y-%m-%d %H:%M}", each.reason, each.cause) for each in found)
        return format_html_join("", "<div>{} {} ({})</div>", rows) or "Not frozen"

    @shown("Books")
    def money(self, user: User) -> SafeString | str:
        account = Account.objects.filter(owner=user, code=Account.Code.USER).first()
        links = [list_of(Purchase, "Purchases", q=user.email)]
        if account is not None:
            links.append(list_of(Transfer, "Transfers", account=account.id))
        return format_html_join(" · ", "{}", ((link,) for link in links))

    @shown("Made by it")
    def more(self, user: User) -> SafeString:
        links = (list_of(Job, "Jobs", q=user.email), list_of(ApiKey, "Keys", q=user.email))
        return format_html_join(" · ", "{}", ((link,) for link in links))

    @asks(
        "Approve",
        "Lets in an account that waits, and tells it by mail.",
        icon="how_to_reg",
        when=lambda user: user.waiting,
    )
    def approve(self, user: User, form: forms.Form) -> str:
        if not user.waiting:
            raise Refused("It does not wait for anybody.")
        registration.approve(user)
        return f"{user.email} may sign in."

    @asks(
        "Grant credit",
        "Adds to the balance, and is in the ledger as a grant.",
        Grant,
        icon="add_card",
        variant=PRIMARY,
    )
    def grant_credit(self, user: User, form: forms.Form) -> str:
        granted = micro_dollars(form)
        assert granted is not None
        credit.grant(user, granted, reason=form.cleaned_data["reason"])
        return f"{user.email} was given {dollars(granted)}."

    @asks(
        "Freeze",
        "The account can start nothing until it is unfrozen; what runs goes on.",
        WithReason,
        icon="ac_unit",
        variant=DANGER,
    )
    def freeze(self, user: User, form: forms.Form) -> str:
        credit.freeze(user, reason=form.cleaned_data["reason"])
        return f"{user.email} is frozen."

    @asks("Set budgets", "What the account and all of its keys may spend.", Caps, icon="savings")
    def budget(self, user: User, form: Caps) -> str:
        for name, period in PERIODS.items():
            before, written = form.now.get(period), micro_dollars(form, name)
            cap = None if written is None else budgets.changed(before, written)
            if cap != (before and budgets.changed(before, before.cap)):
                budgets.put(user.id, period, cap)
        return f"The budgets of {user.email} hold for its next request."

    @asks(
        "Unfreeze",
        "Lifts every freeze, also those of disputes.",
        icon="lock_open",
        when=lambda user: user.is_frozen,
    )
    def unfreeze(self, user: User, form: forms.Form) -> str:
        lifted = credit.unfreeze(user)
        return f"{lifted} freezes of {user.email} were lifted."

    @asks(
        "Write off the debt",
        "Gives up all that the account owes, as lost. Credit that comes is its own again.",
        WithReason,
        icon="money_off",
        variant=DANGER,
        when=lambda user: ledger.balance(user.id).debt > 0,
    )
    def write_off(self, user: User, form: forms.Form) -> str:
        lost = credit.write_off(user, reason=form.cleaned_data["reason"])
        if not lost:
            raise Refused("It owes nothing.")
        return f"{dollars(lost)} that {user.email} owed are written off."


class ApiKeyAdmin(Acting, Listing):
    list_display = (
        "name",
        "ending",
        "user",
        "permissions",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_select_related = ("user",)
    searched_by = "An account's e-mail address"
    fields = (
        "owner", "name", "ending", "permissions", "allowed_models", "requests_per_minute",
        "concurrency", "created_at", "last_used_at", "expires_at", "revoked_at",
    )  # fmt: skip
    readonly_fields = ("owner", "ending")
    actions_detail = ("revoke",)

    def search(self, rows: QuerySet[ApiKey], text: str) -> QuerySet[ApiKey]:
        return rows.filter(user__email=text.lower())

    @shown("Account")
    def owner(self, key: ApiKey) -> SafeString | str:
        return link_to(key.user)

    @shown("Key")
    def ending(self, key: ApiKey) -> str:
        return f"{keys.PREFIX}…{key.last_four}"

    @asks(
        "Revoke",
        "Whoever uses this key is refused from now on. This can't be undone.",
        Asked,
        icon="block",
        variant=DANGER,
        when=lambda key: key.revoked_at is None,
    )
    def revoke(self, key: ApiKey, form: forms.Form) -> str:
        if key.revoked_at is not None:
            raise Refused("It is revoked already.")
        keys.revoke(key)
        return f"{key.name} is revoked."


class Mode(Asked):
    mode = chosen("Who may make an account", choices=Registration.Mode.choices)

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **{"initial": {"mode": registration.mode()}, **how})


class Invite(Asked):
    email = forms.EmailField(label="E-mail", widget=UnfoldAdminEmailInputWidget())
    days = whole("Days that the link works", min_value=1, max_value=365, initial=7)


class InvitationAdmin(Acting, Listing):
    list_display = ("email", "state", "created_at", "expires_at", "used_by")
    list_select_related = ("used_by",)
    searched_by = "An e-mail address"
    fields = ("email", "state", "created_at", "expires_at", "used_at", "user")
    readonly_fields = ("state", "user")
    actions_list = ("change_registration", "invite")

    def search(self, rows: QuerySet[Invitation], text: str) -> QuerySet[Invitation]:
        return rows.filter(email=text.lower())

    @shown("State", label={"open": "info", "used": "success"})
    def state(self, invitation: Invitation) -> str:
        if invitation.used_at is not None:
            return "used"
        return "open" if invitation.expires_at > timezone.now() else "over"

    @shown("Account")
    def user(self, invitation: Invitation) -> SafeString | str:
        return link_to(invitation.used_by)

    @asks("Registration", "Holds for whoever signs up from now on.", Mode, icon="door_open")
    def change_registration(self, form: forms.Form) -> str:
        mode = Registration.Mode(form.cleaned_data["mode"])
        registration.change(mode)
        return f"Who may make an account: {mode.label.lower()}."

    @asks(
        "Invite",
        "A link that makes one account. It is mailed, where mail is set up, and shown once.",
        Invite,
        icon="person_add",
        variant=PRIMARY,
    )
    def invite(self, form: Invite) -> HttpResponse:
        lifetime = timedelta(days=form.cleaned_data["days"])
        link = registration.invite(form.cleaned_data["email"], lifetime)
        return shown_once(form.request, [link], self.url_of(None))


class AuditEntryAdmin(Listing):
    list_display = ("at", "actor", "action", "subject", "address")
    ordering = ("-at", "-id")
    searched_by = "An action (account.freeze), or an actor's e-mail address"
    fields = ("at", "actor", "actor_id", "key_id", "address", "action", "subject", "detail")

    def search(self, rows: QuerySet[AuditEntry], text: str) -> QuerySet[AuditEntry]:
        return rows.filter(Q(action=text) | Q(actor=text) | Q(subject=text))
