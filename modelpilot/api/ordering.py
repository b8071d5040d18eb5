"""From a checked body to a recorded job: the model, its deployment, the money, the bell."""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from billing import pricing
from billing.pricing import Price
from inference.catalog import Card
from inference.types import Kind
from modelpilot import durations
from modelpilot.accounts.keys import Principal
from modelpilot.api import bells, gate
from modelpilot.api.auth import principal_of
from modelpilot.errors import ApiError
from modelpilot.fleet import deployments
from modelpilot.fleet.catalog import cards, price_of
from modelpilot.fleet.deployments import Serving
from modelpilot.hop import hop_in_time
from modelpilot.jobs import measures, shown
from modelpilot.jobs.follow import TICK, Subscription, reader
from modelpilot.jobs.ids import new_id
from modelpilot.jobs.models import Job
from modelpilot.jobs.submit import Order, submit

USES = {
    Kind.TEXT: "chat completions",
    Kind.AUDIO: "speech generation",
    Kind.IMAGE: "image generation",
    Kind.VIDEO: "video generation",
    Kind.EMBEDDING: "embeddings",
    Kind.TRANSCRIPTION: "transcriptions",
}
ARTICLES = {
    Kind.TEXT: "a",
    Kind.AUDIO: "an",
    Kind.IMAGE: "an",
    Kind.VIDEO: "a",
    Kind.EMBEDDING: "an",
    Kind.TRANSCRIPTION: "a",
}


@dataclass(frozen=True, slots=True)
class Placed:
    """A recorded job and its events. `price` is the most that it can cost, in micro-dollars."""

    id: uuid.UUID
    subscription: Subscription
    card: Card
    serving: Serving
    price: int


async def place(
    request: HttpRequest,
    *,
    route: str,
    kind: Kind,
    permission: str,
    model: str,
    body: dict[str, Any],
    stream: bool = False,
    watched: bool = False,
    webhook: str | None = None,
    max_cost: float | None = None,
    digest: bytes | None = None,
) -> Placed:
    """Record a job, ring for it, and follow it from its first event.

    `digest` tells a retry under one idempotency key from another request, if not the body does.

    Raises ApiError in the contract's order: `invalid_model_type`, `model_not_found`,
    `model_not_available`, `rate_limit_exceeded` (too many jobs under way),
    `max_cost_exceeded`, `insufficient_quota`; nothing is written then.
    """
    principal = principal_of(request)
    cancel_after_s = cancel_after_of(request)
    found = find_card(principal, model, kind)
    # Followed before it exists, so that none of its events can be missed.
    job = new_id()
    subscription = reader().subscribe(job, watched=watched)
    idempotency_key = idempotency_key_of(request)

    def accept() -> tuple[Card, Serving, uuid.UUID, int]:
        card, serving = deployed(found, model, kind)
        tariff = price_of(card, serving.price)
        order = Order(
            id=job,
            owner=principal.user_id,
            key=principal.key_id,
            concurrency=principal.concurrency,
            permission=permission,
            route=route,
            request_id=gate.request_id(request),
            kind=kind.value,
            model=serving.model,
            deployment=serving.id,
            request=body,
            price=most(tariff, card, body),
            tariff=tariff.as_json(),
            max_cost=max_cost,
            deadline_s=card.deadline_s,
            cancel_after_s=cancel_after_s,
            stream=stream,
            watched=watched,
            uploads=any(body.get(name) for name in shown.ATTACHMENTS),
            webhook=webhook,
            idempotency_key=idempotency_key,
            body_digest=(digest or hashlib.sha256(request.body).digest())
            if idempotency_key
            else None,
        )
        accepted = submit(order)
        return card, serving, accepted, order.price if accepted == job else price_of_job(accepted)

    card, serving, accepted, price = await hop_in_time(accept)
    if accepted == job:
        bells.ring(card.id, serving.pods)
    else:
        # It may be over, and its events forgotten: look at the row first.
        subscription = reader().subscribe(accepted)
        subscription.push(TICK)
        # Whatever the answer will be, a failure too.
        request.scope["modelpilot.headers"]["Idempotent-Replayed"] = "true"  # type: ignore[attr-defined]
    return Placed(accepted, subscription, card, serving, price)


def most(price: Price, card: Card, request: dict[str, Any]) -> int:
    """The most that a request can cost, in micro-dollars: what is quoted, and what is held."""
    return pricing.cost(price, measures.at_most(card, request))


def price_of_job(job: uuid.UUID) -> int:
    price: int = Job.objects.values_list("price", flat=True).get(id=job)
    return price


def find_card(principal: Principal, model: str, kind: Kind) -> Card | None:
    """The card, if it is of the right kind and the key may use it; None if there is none."""
    card = cards().find(model)
    if card is not None and card.kind != kind:
        raise ApiError(
            400,
            "invalid_model_type",
            f"Model '{model}' is not {ARTICLES[kind]} {kind} model and cannot be used with "
            f"{USES[kind]}",
            param="model",
        )
    if card is not None and not principal.may_use(card.id):
        raise ApiError(
            403,
            "permission_denied",
            f"This API key may not use the model '{card.id}'. Use a key that may.",
            param="model",
            type="permission_error",
        )
    return card


def deployed(card: Card | None, model: str, kind: Kind) -> tuple[Card, Serving]:
    """The running deployment of a card; ApiError 404 or 503 where there is none."""
    serving = deployments.serving(card.id) if card else None
    if card is None or serving is None:
        available = available_models(kind)
        raise ApiError(
            404,
            "model_not_found",
            f"No active deployment found for model '{model}'",
            param="model",
            detail={"available_models": available},
            beside={"available_models": available},
        )
    if not serving.running:
        raise ApiError(
            503,
            "model_not_available",
            f"Model '{model}' deployment is not running (status: stopped)",
            param="model",
            headers={"x-should-retry": "false"},
        )
    return card, serving


def available_models(kind: Kind) -> list[str]:
    """What could be called instead."""
    catalog = cards().cards
    return [
        serving.model
        for serving in deployments.all_serving()
        if serving.running and serving.model in catalog and catalog[serving.model].kind == kind
    ]


def idempotency_key_of(request: HttpRequest) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise ApiError(
            422,
            "invalid_value",
            "An Idempotency-Key has 1 to 255 printable characters.",
            param="Idempotency-Key",
        )
    return key


# Longer than any job may take.
LONGEST_CANCEL_AFTER_S = 86_400


def cancel_after_of(request: HttpRequest) -> int | None:
    """Seconds after which the client wants its job cancelled, from `Cancel-After`."""
    text = request.headers.get("Cancel-After")
    if text is None:
        return None
    try:
        seconds = durations.seconds(text)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= LONGEST_CANCEL_AFTER_S:
        raise ApiError(
            422,
            "invalid_value",
            "Cancel-After takes a time from 1s to a day, such as 90, 90s or 2m.",
            param="Cancel-After",
        )
    return seconds
