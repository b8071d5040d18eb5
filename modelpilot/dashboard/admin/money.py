"""The books, what was bought and refunded, prices and redeem codes."""

import uuid
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.admin import SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.admin import TabularInline

from billing import payments, reversals
from billing.models import Account, PriceChange, Purchase, RedeemCode, Reversal, Transfer
from billing.pricing import Price
from inference.catalog import Card
from modelpilot.accounts import credit
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
    moment,
    shown_once,
    text,
    whole,
)
from modelpilot.dashboard.admin.listing import NOTHING, Listing, link_to, list_of, shown
from modelpilot.dashboard.tags import dollars
from modelpilot.fleet import prices
from modelpilot.fleet.catalog import cards, price_of

# Every code that a transfer is booked by: `ref` is found by them, through the unique index.
CODES = (
    "hold", "charge", "release", "grant", "topup", "bonus", "code", "refund", "refund_debt",
    "refund_undone", "dispute", "dispute_debt", "dispute_undone", "bonus_taken",
    "bonus_taken_debt", "bonus_undone", "repayment", "write_off",
)  # fmt: skip


class AccountAdmin(Listing):
    list_display = ("id", "owner", "code", "balance", "held", "state")
    list_select_related = ("owner",)
    list_filter = ("code",)
    searched_by = "An account's e-mail address"
    fields = (
        "id", "user", "code", "balance", "held", "state", "came", "went", "transfers",
    )  # fmt: skip
    readonly_fields = ("user", "balance", "held", "state", "came", "went", "transfers")

    def search(self, rows: QuerySet[Account], text: str) -> QuerySet[Account]:
        return rows.filter(owner__email=text.lower())

    @shown("Owner")
    def user(self, account: Account) -> SafeString | str:
        return link_to(account.owner)

    @shown("Balance")
    def balance(self, account: Account) -> str:
        # The system's accounts keep no counters: their balance is the sum of transfers.
        if account.owner_id is None:
            return NOTHING
        return dollars(account.credits_posted - account.debits_posted)

    @shown("State", label={"frozen": "danger"})
    def state(self, account: Account) -> str:
        return "frozen" if account.frozen else ""

    @shown("Held")
    def held(self, account: Account) -> str:
        return NOTHING if account.owner_id is None else dollars(account.debits_pending)

    @shown("Came in all")
    def came(self, account: Account) -> str:
        return NOTHING if account.owner_id is None else dollars(account.credits_posted)

    @shown("Went in all")
    def went(self, account: Account) -> str:
        return NOTHING if account.owner_id is None else dollars(account.debits_posted)

    @shown("Transfers")
    def transfers(self, account: Account) -> SafeString:
        return list_of(Transfer, "Its transfers", account=account.id)


class OfAccount(SimpleListFilter):
    """Not offered, but followed from an account's page: there may be a million of them."""

    title = "account"
    parameter_name = "account"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(self.value() or "", f"account {self.value()}")] if self.value() else []

    def has_output(self) -> bool:
        return bool(self.value())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Transfer]) -> QuerySet[Transfer]:
        value = self.value()
        if value is None or not value.isdecimal():
            return queryset
        return queryset.filter(Q(debit=int(value)) | Q(credit=int(value)))


class TransferAdmin(Listing):
    list_display = ("id", "created_at", "code", "kind", "usd", "debit", "credit", "ref")
    list_select_related = ("debit", "credit")
    list_filter = (OfAccount,)
    searched_by = "A number, or a reference: a job, a purchase"
    fields = (
        "id",
        "created_at",
        "code",
        "ref",
        "kind",
        "usd",
        "from_account",
        "to_account",
        "resolves",
        "note",
    )
    readonly_fields = ("usd", "from_account", "to_account", "resolves")

    def search(self, rows: QuerySet[Transfer], text: str) -> QuerySet[Transfer]:
        named = Q(code__in=CODES, ref=text)
        return rows.filter(named | Q(id=int(text)) if text.isdecimal() else named)

    @shown("Amount")
    def usd(self, transfer: Transfer) -> str:
        return dollars(transfer.amount)

    @shown("Debit")
    def from_account(self, transfer: Transfer) -> SafeString | str:
        return link_to(transfer.debit)

    @shown("Credit")
    def to_account(self, transfer: Transfer) -> SafeString | str:
        return link_to(transfer.credit)

    @shown("Resolves")
    def resolves(self, transfer: Transfer) -> SafeString | str:
        return link_to(transfer.pending)


class ReversalInline(TabularInline):
    model = Reversal
    fields = ("created_at", "kind", "usd", "stage", "stripe_id", "note")
    readonly_fields = fields
    ordering = ("-created_at",)
    extra = 0
    can_delete = False
    per_page = 20

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @shown("Amount")
    def usd(self, reversal: Reversal) -> str:
        return dollars(reversal.amount)


class Refund(WithReason):
    usd = amount("USD", required=False, help_text="Empty: all that is left of it.")
    field_order = ("usd", "reason")


class PurchaseAdmin(Acting, Listing):
    list_display = ("created_at", "owner", "usd", "bonus_usd", "state", "paid_at", "id")
    list_select_related = ("owner",)
    list_filter = ("state",)
    ordering = ("-created_at", "-id")
    searched_by = "An e-mail address, a purchase, or Stripe's session or payment (cs_…, pi_…)"
    fields = (
        "id", "user", "created_at", "usd", "bonus_usd", "bonus_taken", "state", "paid_at", "gone",
        "note", "session", "intent", "receipt_url",
    )  # fmt: skip
    readonly_fields = ("user", "usd", "bonus_usd", "gone")
    inlines = (ReversalInline,)
    actions_detail = ("refund",)

    def search(self, rows: QuerySet[Purchase], text: str) -> QuerySet[Purchase]:
        if "@" in text:
            return rows.filter(owner__email=text.lower())
        found = Q(session=text) | Q(intent=text)
        with suppress(ValueError):
            found |= Q(id=uuid.UUID(text))
        return rows.filter(found)

    @shown("Account")
    def user(self, purchase: Purchase) -> SafeString | str:
        return link_to(purchase.owner)

    @shown("Amount")
    def usd(self, purchase: Purchase) -> str:
        return dollars(purchase.amount)

    @shown("Bonus")
    def bonus_usd(self, purchase: Purchase) -> str:
        return dollars(purchase.bonus)

    @shown("Gone back")
    def gone(self, purchase: Purchase) -> str:
        return dollars(reversals.standing(purchase))

    @asks(
        "Refund",
        "Sends money back to who paid, through Stripe. The bonus is taken back first.",
        Refund,
        icon="undo",
        variant=DANGER,
        when=lambda purchase: (
            purchase.state == Purchase.State.PAID and reversals.standing(purchase) < purchase.amount
        ),
    )
    def refund(self, purchase: Purchase, form: forms.Form) -> str:
        if not payments.configured():
            raise Refused("There is no STRIPE_SECRET_KEY, so nothing can be refunded.")
        try:
            reversal = credit.refund(
                purchase.id, micro_dollars(form), reason=form.cleaned_data["reason"]
            )
        except reversals.NotRefundable as error:
            raise Refused(str(error)) from None
        except payments.Refused as error:
            raise Refused(f"Stripe refuses; the credit is back: {error}") from None
        except payments.Unavailable as error:
            raise Refused(
                f"Stripe does not answer ({error}). The credit is taken, and Stripe is asked "
                "again each hour."
            ) from None
        return f"{dollars(reversal.amount)} are refunded ({reversal.stripe_id})."


def models() -> list[tuple[str, str]]:
    return [(name, name) for name in cards().cards]


class NewPrice(WithReason):
    model = chosen("Model", choices=models)
    price = text(
        "Price",
        required=False,
        help_text="USD for a request (0.002), or parts (input_tokens=0.05 output_tokens=0.1). "
        "Empty: what the card says, again.",
    )
    starts_at = moment("From (UTC)", required=False, help_text="Empty: at once.")
    field_order = ("model", "price", "starts_at", "reason")

    def clean_starts_at(self) -> Any:
        starts_at = self.cleaned_data["starts_at"]
        if starts_at is not None and starts_at <= timezone.now():
            raise forms.ValidationError("A price can't start in the past: what was charged stays.")
        return starts_at

    def clean_price(self) -> dict[str, int] | None:
        written = self.cleaned_data["price"].split()
        try:
            price = prices.parts_of(written) if written else None
            card = cards().find(self.data.get("model", ""))
            if card is not None:
                price_of(card, price)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return price


class PriceChangeAdmin(Acting, Listing):
    list_display = ("model", "costs", "starts_at", "state", "created_by", "reason")
    list_select_related = ("created_by",)
    ordering = ("-starts_at", "-id")
    fields = (
        "id", "model", "costs", "starts_at", "state", "reason", "created_by", "created_at",
        "cancelled_by", "cancelled_at",
    )  # fmt: skip
    readonly_fields = ("costs", "state")
    actions_list = ("change_price",)
    actions_detail = ("cancel",)

    @shown("Price")
    def costs(self, change: PriceChange) -> str:
        return "As its card says" if change.price is None else str(Price.from_json(change.price))

    @shown("State", label={"to come": "info", "cancelled": "danger"})
    def state(self, change: PriceChange) -> str:
        if change.cancelled_at is not None:
            return "cancelled"
        return "to come" if change.starts_at > timezone.now() else "started"

    @asks(
        "Change a price",
        "Jobs that were accepted keep theirs.",
        NewPrice,
        icon="sell",
        variant=PRIMARY,
    )
    def change_price(self, form: forms.Form) -> str:
        card: Card = cards().cards[form.cleaned_data["model"]]
        made = prices.change(
            card,
            form.cleaned_data["price"],
            reason=form.cleaned_data["reason"],
            starts_at=form.cleaned_data["starts_at"],
        )
        return f"{made.model} costs {self.costs(made)} from {made.starts_at:%Y-%m-%d %H:%M} UTC on."

    @asks(
        "Cancel the change",
        "The change will not start.",
        Asked,
        icon="event_busy",
        variant=DANGER,
        when=lambda change: change.cancelled_at is None and change.starts_at > timezone.now(),
    )
    def cancel(self, change: PriceChange, form: forms.Form) -> str:
        if not prices.cancel(change.id):
            raise Refused("It has started, or is cancelled. Change the price again instead.")
        return "It is cancelled."


class NewCodes(Asked):
    usd = amount("USD for each use")
    count = whole("Codes to make", min_value=1, max_value=500, initial=1)
    uses = whole("Accounts that may redeem each", min_value=1, max_value=1_000_000, initial=1)
    days = whole("Days until it is over", min_value=1, max_value=36_500, required=False)
    note = text("Note", max_length=200, required=False)


class RedeemCodeAdmin(Acting, Listing):
    list_display = ("ending", "usd", "used", "state", "expires_at", "note", "created_at")
    ordering = ("-created_at", "-id")
    fields = (
        "id",
        "ending",
        "usd",
        "used",
        "state",
        "note",
        "created_at",
        "expires_at",
        "revoked_at",
    )
    readonly_fields = ("ending", "usd", "used", "state")
    actions_list = ("make_codes",)
    actions_detail = ("revoke",)

    @shown("Code")
    def ending(self, code: RedeemCode) -> str:
        return f"…{code.last_four}"

    @shown("Amount")
    def usd(self, code: RedeemCode) -> str:
        return dollars(code.amount)

    @shown("Used")
    def used(self, code: RedeemCode) -> str:
        return f"{code.uses} of {code.uses_max}"

    @shown("State", label={"open": "success", "revoked": "danger"})
    def state(self, code: RedeemCode) -> str:
        if code.revoked_at is not None:
            return "revoked"
        if code.expires_at is not None and code.expires_at <= timezone.now():
            return "over"
        return "used up" if code.uses >= code.uses_max else "open"

    @asks(
        "New codes",
        "They are shown once: write them down.",
        NewCodes,
        icon="redeem",
        variant=PRIMARY,
    )
    def make_codes(self, form: NewCodes) -> HttpResponse:
        asked = form.cleaned_data
        granted, days = micro_dollars(form), asked["days"]
        assert granted is not None
        made = credit.make_codes(
            granted,
            count=asked["count"],
            uses=asked["uses"],
            expires_at=None if days is None else timezone.now() + timedelta(days=days),
            note=asked["note"],
        )
        return shown_once(form.request, made, self.url_of(None))

    @asks(
        "Revoke",
        "Nobody can redeem it any more. What was redeemed stays.",
        Asked,
        icon="block",
        variant=DANGER,
        when=lambda code: code.revoked_at is None,
    )
    def revoke(self, code: RedeemCode, form: forms.Form) -> str:
        if not credit.revoke_code(code.id):
            raise Refused("It is revoked already.")
        return "It is revoked."
