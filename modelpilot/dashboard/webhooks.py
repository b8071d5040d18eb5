"""Webhooks: endpoints with their secrets, and what was sent."""

import uuid
from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.errors import ApiError
from modelpilot.jobs import outbound
from modelpilot.jobs import webhooks as hooks
from modelpilot.jobs.ids import parse
from modelpilot.jobs.models import WebhookDelivery, WebhookEndpoint

PAGE = 20


def callable_url(url: str) -> None:
    try:
        outbound.parse(url)
    except outbound.Refused as refusal:
        raise ValidationError(f"The URL {refusal}.") from refusal


class EndpointForm(forms.Form):
    url = forms.CharField(
        label="URL",
        max_length=outbound.URL_LENGTH,
        validators=[callable_url],
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/modelpilot"}),
        help_text="It is sent the JSON of each job of yours that has ended.",
    )


@signed_in
def webhooks(request: HttpRequest) -> HttpResponse:
    """Endpoints and deliveries; a POST adds an endpoint and shows its secret."""
    owner = current_user(request).id
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = hooks.create(owner, form.cleaned_data["url"])
        except ApiError as error:
            form.add_error(None, error.message)
        else:
            return secret_page(request, made.secret, made.url, made=True)
    deliveries = hooks.deliveries(owner)
    last = last_of(request, owner)
    found = list((hooks.before(deliveries, last) if last else deliveries)[: PAGE + 1])
    context = {
        "form": form,
        "endpoints": list(hooks.endpoints(owner)),
        "deliveries": found[:PAGE],
        "older": found[PAGE - 1].id if len(found) > PAGE else None,
        "first": last is None,
    }
    return render(request, "dashboard/webhooks.html", context)


def last_of(request: HttpRequest, owner: int) -> WebhookDelivery | None:
    """The last delivery of the page before."""
    known = parse(request.GET.get("before", ""))
    return hooks.deliveries(owner).filter(id=known).first() if known else None


@signed_in
@require_POST
def secret(request: HttpRequest) -> HttpResponse:
    """Show what webhooks are signed with that a request names; `act=rotate` changes it before."""
    holder = hooks.signer(current_user(request).id)
    rotated = request.POST.get("act") == "rotate"
    if rotated:
        hooks.rotate(holder)
    return secret_page(request, holder.secret, "Webhooks named in a request", rotated=rotated)


@signed_in
@require_POST
def endpoint(request: HttpRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Do what `act` says to one endpoint."""
    owner = current_user(request).id
    found = hooks.endpoints(owner).filter(id=endpoint_id).first()
    act = request.POST.get("act", "")
    if found is None or act not in (*ACTS, "rotate"):
        raise Http404
    if act == "rotate":
        hooks.rotate(found)
        return secret_page(request, found.secret, found.url, rotated=True)
    do, said = ACTS[act]
    do(found)
    messages.success(request, said)
    return redirect("webhooks")


ACTS: dict[str, tuple[Callable[[WebhookEndpoint], None], str]] = {
    "enable": (hooks.enable, "The endpoint hears of each job that ends from now on."),
    "disable": (
        lambda endpoint: hooks.disable(endpoint, "Disabled by its owner."),
        "The endpoint is told nothing any more.",
    ),
    "delete": (hooks.delete, "The endpoint is deleted."),
}


@signed_in
@require_POST
def redeliver(request: HttpRequest, delivery_id: uuid.UUID) -> HttpResponse:
    found = hooks.deliveries(current_user(request).id).filter(id=delivery_id).first()
    if found is None:
        raise Http404
    try:
        hooks.redeliver(found)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, "It is sent again within seconds, under the same webhook-id.")
    return redirect("webhooks")


def secret_page(
    request: HttpRequest, shown: str, whose: str, *, made: bool = False, rotated: bool = False
) -> HttpResponse:
    context = {"secret": shown, "whose": whose, "made": made, "rotated": rotated}
    return render(request, "dashboard/webhook_secret.html", context)
