"""Jobs, and the webhooks that tell of them."""

import json
import uuid
from typing import Any

from django import forms
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from billing.models import Transfer
from modelpilot.accounts import audit
from modelpilot.accounts.models import User
from modelpilot.dashboard.admin.asking import DANGER, Acting, Asked, Refused, asks
from modelpilot.dashboard.admin.listing import NOTHING, Listing, link_to, list_of, shown
from modelpilot.dashboard.tags import dollars
from modelpilot.jobs import cancel, storage, webhooks
from modelpilot.jobs import shown as abridging
from modelpilot.jobs.ids import parse
from modelpilot.jobs.models import Job, WebhookDelivery, WebhookEndpoint

STATES = {
    "queued": "info",
    "running": "info",
    "succeeded": "success",
    "failed": "danger",
    "pending": "info",
    "delivered": "success",
}


def indented(value: Any) -> SafeString | str:
    if value is None:
        return NOTHING
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return format_html('<pre class="written">{}</pre>', text)


def of_owner(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """The rows of the account with that address: by its id, which the tables have indexes of."""
    owner = User.objects.filter(email=text.lower()).values_list("id", flat=True).first()
    return rows.none() if owner is None else rows.filter(owner=owner)


class ByState(SimpleListFilter):
    """Only states that an index knows: those of live jobs, and those that went wrong."""

    title = "state"
    parameter_name = "state"
    states: tuple[str, ...] = ("queued", "running", "failed", "cancelled")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in self.states]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() in self.states else queryset


class JobAdmin(Acting, Listing):
    """What a job was asked is on its page only, and not in the list."""

    list_display = ("created_at", "status", "owner", "kind", "model", "costs", "took", "id")
    list_select_related = ("owner",)
    list_filter = (ByState,)
    searched_by = "A job's id in any spelling, or an account's e-mail address"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "status",
                    "user",
                    "kind",
                    "model",
                    "route",
                    "request_id",
                    "key",
                    "deployment",
                )
            },
        ),
        ("What happened", {"fields": ("failure", "story")}),
        ("Money", {"fields": ("held", "costs", "tariff", "transfers")}),
        ("Asked", {"fields": ("asked",)}),
        ("Answered", {"fields": ("answered", "files")}),
        ("Told", {"fields": ("webhook", "deliveries")}),
    )
    readonly_fields = (
        "status", "user", "failure", "story", "held", "costs", "transfers", "asked", "answered",
        "files", "deliveries",
    )  # fmt: skip
    actions_detail = ("cancel",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        rows: QuerySet[Job] = super().get_queryset(request)
        # They hold prompts, pictures and answers, megabytes at times.
        listing = request.resolver_match is not None and "changelist" in (
            request.resolver_match.url_name or ""
        )
        return rows.defer("request", "result") if listing else rows

    def search(self, rows: QuerySet[Job], text: str) -> QuerySet[Job]:
        if "@" in text:
            return of_owner(rows, text)
        return rows.filter(id=parse(text) or uuid.UUID(int=0))

    @shown("State", label=STATES)
    def status(self, job: Job) -> str:
        return job.state

    @shown("Account")
    def user(self, job: Job) -> SafeString | str:
        return link_to(job.owner)

    @shown("Cost")
    def costs(self, job: Job) -> str:
        return dollars(job.cost)

    @shown("Held")
    def held(self, job: Job) -> str:
        return dollars(job.price)

    @shown("Ran for")
    def took(self, job: Job) -> str:
        if job.started_at is None or job.finished_at is None:
            return NOTHING
        return f"{(job.finished_at - job.started_at).total_seconds():.2f} s"

    @shown("Error")
    def failure(self, job: Job) -> SafeString | str:
        return indented(job.error)

    @shown("Log")
    def story(self, job: Job) -> SafeString:
        pod = f"attempt {job.attempt} started on pod {job.pod}"
        moments = [
            (job.created_at, "accepted"),
            (job.started_at, pod),
            (job.cancel_requested_at, "its owner cancelled it"),
            (job.finished_at, f"ended: {job.state}"),
        ]
        told = [(at, what) for at, what in moments if at is not None]
        rows = ((f"{at:%Y-%m-%d %H:%M:%S.%f}"[:-3], what) for at, what in sorted(told))
        return format_html_join("", "<div><code>{}</code> {}</div>", rows)

    @shown("In the ledger")
    def transfers(self, job: Job) -> SafeString:
        return list_of(Transfer, "Its transfers", q=job.id)

    @shown("Request")
    def asked(self, job: Job) -> SafeString | str:
        return indented(abridging.abridged(job.request))

    @shown("Result")
    def answered(self, job: Job) -> SafeString | str:
        return indented(job.result)

    @shown("Files")
    def files(self, job: Job) -> SafeString | str:
        rows = (
            (storage.signed_path(file.id), file.name, file.media_type, file.bytes)
            for file in job.outputs.all()
        )
        link = '<div><a class="text-link underline" href="{}">{}</a> {}, {} bytes</div>'
        return format_html_join("", link, rows) or NOTHING

    @shown("Deliveries")
    def deliveries(self, job: Job) -> SafeString | str:
        rows = ((link_to(each), each.state) for each in job.webhook_deliveries.all()[:20])
        return format_html_join("", "<div>{} {}</div>", rows) or NOTHING

    @asks(
        "Cancel the job",
        "It stops within seconds, and costs what was delivered.",
        Asked,
        icon="cancel",
        variant=DANGER,
        when=lambda job: not job.terminal,
    )
    def cancel(self, job: Job, form: forms.Form) -> str:
        if job.terminal:
            raise Refused(f"It is {job.state} already.")
        audit.record("job.cancel", f"job {job.id} of user {job.owner_id}")
        cancel.cancel(job.id)
        return "It is being cancelled."


class WebhookEndpointAdmin(Acting, Listing):
    list_display = ("url", "owner", "enabled", "disabled_reason", "deleted_at", "created_at")
    list_select_related = ("owner",)
    list_filter = ("enabled",)
    ordering = ("-created_at", "-id")
    searched_by = "An account's e-mail address"
    # Its secret is the owner's alone.
    fields = ("id", "user", "url", "enabled", "disabled_reason", "created_at", "deleted_at")
    readonly_fields = ("user",)
    actions_detail = ("enable", "disable")

    def search(self, rows: QuerySet[WebhookEndpoint], text: str) -> QuerySet[WebhookEndpoint]:
        return of_owner(rows, text)

    @shown("Account")
    def user(self, endpoint: WebhookEndpoint) -> SafeString | str:
        return link_to(endpoint.owner)

    @asks(
        "Enable",
        "It hears of every job of its owner again.",
        icon="play_arrow",
        when=lambda endpoint: not endpoint.enabled and endpoint.deleted_at is None,
    )
    def enable(self, endpoint: WebhookEndpoint, form: forms.Form) -> str:
        if endpoint.deleted_at is not None:
            raise Refused("Its owner has deleted it.")
        webhooks.enable(endpoint)
        return "It is enabled."

    @asks(
        "Disable",
        "Nothing is sent to it until it is enabled.",
        icon="block",
        variant=DANGER,
        when=lambda endpoint: endpoint.enabled,
    )
    def disable(self, endpoint: WebhookEndpoint, form: forms.Form) -> str:
        webhooks.disable(endpoint, "Disabled by an operator.")
        return "It is disabled."


class DeliveryState(ByState):
    states = ("pending", "failed")


class WebhookDeliveryAdmin(Acting, Listing):
    list_display = ("created_at", "status", "owner", "event", "url", "attempts", "last_status")
    list_select_related = ("owner", "endpoint")
    list_filter = (DeliveryState,)
    ordering = ("-created_at", "-id")
    searched_by = "An account's e-mail address, a job or a delivery (msg_…)"
    fields = (
        "id", "user", "status", "event", "of_job", "to_endpoint", "url", "attempts",
        "next_try_at", "last_status", "last_error", "tries", "created_at",
    )  # fmt: skip
    readonly_fields = ("user", "status", "of_job", "to_endpoint", "tries")
    actions_detail = ("redeliver",)

    def search(self, rows: QuerySet[WebhookDelivery], text: str) -> QuerySet[WebhookDelivery]:
        if "@" in text:
            return of_owner(rows, text)
        found = parse(text.removeprefix("msg_")) or uuid.UUID(int=0)
        return rows.filter(id=found) if text.startswith("msg_") else rows.filter(job=found)

    @shown("State", label=STATES)
    def status(self, delivery: WebhookDelivery) -> str:
        return delivery.state

    @shown("Account")
    def user(self, delivery: WebhookDelivery) -> SafeString | str:
        return link_to(delivery.owner)

    @shown("Job")
    def of_job(self, delivery: WebhookDelivery) -> SafeString | str:
        return link_to(delivery.job)

    @shown("Endpoint")
    def to_endpoint(self, delivery: WebhookDelivery) -> SafeString | str:
        return link_to(delivery.endpoint)

    @shown("Tries")
    def tries(self, delivery: WebhookDelivery) -> SafeString | str:
        return indented(delivery.log) if delivery.log else "None yet"

    @asks(
        "Redeliver",
        "It is sent once more, and with the whole schedule if that fails.",
        icon="replay",
    )
    def redeliver(self, delivery: WebhookDelivery, form: forms.Form) -> str:
        webhooks.redeliver(delivery)
        audit.record("webhook.redeliver", f"delivery {delivery.id} of user {delivery.owner_id}")
        return "It is sent again within seconds."
