"""Webhooks: the account's endpoints, their secrets, and the log of what was sent."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from ninja import Query, Router
from pydantic import Field

from modelpilot.api.answers import account as answers
from modelpilot.api.answers.shapes import ListOf, PageOf
from modelpilot.api.auth import Key, principal_of
from modelpilot.api.schemas import WebhookBody, WebhookChange
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import webhooks
from modelpilot.jobs.ids import parse
from modelpilot.jobs.models import WebhookDelivery, WebhookEndpoint, WebhookSecret
from modelpilot.jobs.shown import timestamp

router = Router(tags=["Webhooks"])

PAGE = 20

Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str | None, Field(max_length=60)]


@router.get(
    "/webhooks",
    auth=Key("read"),
    summary="List webhook endpoints",
    response=ListOf[answers.Webhook],
)
async def list_webhooks(request: HttpRequest) -> HttpResponseBase:
    """Your endpoints, oldest first. Each hears of every job of yours that ends."""

    def listed() -> dict[str, Any]:
        found = webhooks.endpoints(principal_of(request).user_id)
        return {"object": "list", "data": [endpoint_body(endpoint) for endpoint in found]}

    return JsonResponse(await hop(listed))


@router.post(
    "/webhooks",
    auth=Key("read"),
    summary="Create a webhook endpoint",
    response={201: answers.WebhookWithSecret},
)
async def create_webhook(request: HttpRequest, body: WebhookBody) -> HttpResponseBase:
    """Be told at `url` of every job that ends, signed with the `secret` in the answer."""

    def create() -> dict[str, Any]:
        return with_secret(webhooks.create(principal_of(request).user_id, body.url))

    return JsonResponse(await hop(create), status=201)


@router.get(
    "/webhooks/secret",
    auth=Key("read"),
    summary="Read the account's webhook secret",
    response=answers.WebhookSecret,
)
async def read_secret(request: HttpRequest) -> HttpResponseBase:
    """What webhooks are signed with that are named in a request (`webhook`)."""
    signer = await hop(webhooks.signer, principal_of(request).user_id)
    return JsonResponse({"object": "webhook_secret", **secret_body(signer)})


@router.post(
    "/webhooks/secret/rotate",
    auth=Key("read"),
    summary="Rotate the account's webhook secret",
    response=answers.WebhookSecret,
)
async def rotate_secret(request: HttpRequest) -> HttpResponseBase:
    """A new secret; for a day webhooks carry the old one's signature too."""

    def rotate() -> dict[str, Any]:
        signer = webhooks.signer(principal_of(request).user_id)
        webhooks.rotate(signer)
        return {"object": "webhook_secret", **secret_body(signer)}

    return JsonResponse(await hop(rotate))


@router.get(
    "/webhooks/deliveries",
    auth=Key("read", polling=True),
    summary="List deliveries",
    response=PageOf[answers.Delivery],
)
async def list_deliveries(
    request: HttpRequest,
    job: Annotated[str | None, Field(max_length=60)] = None,
    limit: Limit = PAGE,
    after: After = None,
) -> HttpResponseBase:
    """All that was or will be sent, newest first; `job` shows one job's only."""

    def listed() -> dict[str, Any]:
        deliveries = deliveries_of(request)
        if job is not None:
            deliveries = deliveries.filter(job=known(job))
        return page(request, deliveries, limit, after)

    return JsonResponse(await hop(listed))


@router.get(
    "/webhooks/deliveries/{delivery_id}",
    auth=Key("read", polling=True),
    summary="Read a delivery",
    response=answers.Delivery,
)
async def read_delivery(request: HttpRequest, delivery_id: str) -> HttpResponseBase:
    """One delivery with the log of its tries."""
    return JsonResponse(await hop(lambda: delivery_body(find_delivery(request, delivery_id, "id"))))


@router.post(
    "/webhooks/deliveries/{delivery_id}/redeliver",
    auth=Key("read"),
    summary="Send it again",
    response={202: answers.Delivery},
)
async def redeliver(request: HttpRequest, delivery_id: str) -> HttpResponseBase:
    """Send a delivery once more, under the same `webhook-id`."""

    def again() -> dict[str, Any]:
        delivery = find_delivery(request, delivery_id, "id")
        webhooks.redeliver(delivery)
        delivery.refresh_from_db()
        return delivery_body(delivery)

    return JsonResponse(await hop(again), status=202)


@router.get(
    "/webhooks/{webhook_id}",
    auth=Key("read"),
    summary="Read a webhook endpoint",
    response=answers.WebhookWithSecret,
)
async def read_webhook(request: HttpRequest, webhook_id: str) -> HttpResponseBase:
    """One endpoint, with its secret."""
    return JsonResponse(await hop(lambda: with_secret(find(request, webhook_id))))


@router.patch(
    "/webhooks/{webhook_id}",
    auth=Key("read"),
    summary="Enable or disable an endpoint",
    response=answers.Webhook,
)
async def change_webhook(
    request: HttpRequest, webhook_id: str, body: WebhookChange
) -> HttpResponseBase:
    """An endpoint that answered 410 was disabled, and begins to hear again when enabled."""

    def change() -> dict[str, Any]:
        endpoint = find(request, webhook_id)
        if body.enabled:
            webhooks.enable(endpoint)
        else:
            webhooks.disable(endpoint, "Disabled by its owner.")
        endpoint.refresh_from_db()
        return endpoint_body(endpoint)

    return JsonResponse(await hop(change))


@router.delete(
    "/webhooks/{webhook_id}",
    auth=Key("read"),
    summary="Delete a webhook endpoint",
    response={204: None},
)
async def delete_webhook(request: HttpRequest, webhook_id: str) -> HttpResponseBase:
    """Nothing is sent to it any more, also of what waits to be sent again."""
    await hop(lambda: webhooks.delete(find(request, webhook_id)))
    return HttpResponse(status=204)


@router.post(
    "/webhooks/{webhook_id}/rotate",
    auth=Key("read"),
    summary="Rotate a webhook's secret",
    response=answers.WebhookWithSecret,
)
async def rotate_webhook(request: HttpRequest, webhook_id: str) -> HttpResponseBase:
    """A new secret; for a day webhooks carry the old one's signature too."""

    def rotate() -> dict[str, Any]:
        endpoint = find(request, webhook_id)
        webhooks.rotate(endpoint)
        return with_secret(endpoint)

    return JsonResponse(await hop(rotate))


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    auth=Key("read", polling=True),
    summary="List an endpoint's deliveries",
    response=PageOf[answers.Delivery],
)
async def list_webhook_deliveries(
    request: HttpRequest, webhook_id: str, limit: Limit = PAGE, after: After = None
) -> HttpResponseBase:
    """What was or will be sent to this endpoint, newest first."""

    def listed() -> dict[str, Any]:
        deliveries = deliveries_of(request).filter(endpoint=find(request, webhook_id))
        return page(request, deliveries, limit, after)

    return JsonResponse(await hop(listed))


def known(text: str) -> uuid.UUID:
    """The id that a text spells, or one that nothing has."""
    return parse(text.removeprefix("msg_")) or uuid.UUID(int=0)


def find(request: HttpRequest, text: str) -> WebhookEndpoint:
    """The caller's endpoint; ApiError 404 where it isn't theirs."""
    endpoint = webhooks.endpoints(principal_of(request).user_id).filter(id=known(text)).first()
    if endpoint is None:
        raise ApiError(404, "webhook_not_found", "You have no such webhook.", param="id")
    return endpoint


def find_delivery(request: HttpRequest, text: str, param: str) -> WebhookDelivery:
    """The caller's delivery; ApiError 404 where it isn't theirs."""
    delivery = deliveries_of(request).filter(id=known(text)).first()
    if delivery is None:
        raise ApiError(404, "delivery_not_found", "You have no such delivery.", param=param)
    return delivery


def deliveries_of(request: HttpRequest) -> QuerySet[WebhookDelivery]:
    return webhooks.deliveries(principal_of(request).user_id)


def page(
    request: HttpRequest, deliveries: QuerySet[WebhookDelivery], limit: int, after: str | None
) -> dict[str, Any]:
    if after is not None:
        deliveries = webhooks.before(deliveries, find_delivery(request, after, "after"))
    rows = list(deliveries[: limit + 1])
    return {
        "object": "list",
        "data": [delivery_body(delivery) for delivery in rows[:limit]],
        "has_more": len(rows) > limit,
    }


def endpoint_body(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": str(endpoint.id),
        "object": "webhook",
        "url": endpoint.url,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "created_at": timestamp(endpoint.created_at),
    }


def with_secret(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {**endpoint_body(endpoint), **secret_body(endpoint)}


def secret_body(holder: WebhookSecret) -> dict[str, Any]:
    return {"secret": holder.secret, "previous_secret_until": timestamp(holder.previous_until)}


def delivery_body(delivery: WebhookDelivery) -> dict[str, Any]:
    pending = delivery.state == WebhookDelivery.State.PENDING
    return {
        "id": webhooks.message_id(delivery),
        "object": "webhook_delivery",
        "webhook": None if delivery.endpoint_id is None else str(delivery.endpoint_id),
        "job": str(delivery.job_id),
        "url": delivery.url,
        "type": delivery.event,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_try_at": timestamp(delivery.next_try_at) if pending else None,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
        "log": [
            {**entry, "at": timestamp(datetime.fromisoformat(entry["at"]))}
            for entry in delivery.log
        ],
        "created_at": timestamp(delivery.created_at),
    }
