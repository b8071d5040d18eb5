"""GET /models: what can be called, in OpenAI's shape with our fields beside."""

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router

from billing.money import usd
from billing.pricing import Price
from inference.catalog import Card
from modelpilot.accounts.keys import Principal
from modelpilot.api.answers import openai as answers
from modelpilot.api.answers.shapes import ListOf
from modelpilot.api.auth import Key, principal_of
from modelpilot.api.ordering import deployed
from modelpilot.errors import ApiError
from modelpilot.fleet import deployments
from modelpilot.fleet.catalog import cards, price_of
from modelpilot.fleet.deployments import Serving
from modelpilot.hop import hop

router = Router(tags=["OpenAI-compatible"])
EITHER = Key("read", "proxy", any_of=True)


@router.get("/models", auth=EITHER, summary="List models", response=ListOf[answers.Model])
async def list_models(request: HttpRequest) -> HttpResponseBase:
    """The models that are deployed, with their prices and parameter ranges."""
    data = await hop(available, principal_of(request))
    return JsonResponse({"object": "list", "data": data})


@router.get("/models/{path:model}", auth=EITHER, summary="Read a model", response=answers.Model)
async def read_model(request: HttpRequest, model: str) -> HttpResponseBase:
    """One model, by its id or its name without the tag."""
    card = cards().find(model)
    if card is None or not principal_of(request).may_use(card.id):
        raise ApiError(
            404, "model_not_found", f"No active deployment found for model '{model}'", param="model"
        )
    found, serving = await hop(deployed, card, model, card.kind)
    return JsonResponse(model_body(found, serving))


def available(principal: Principal) -> list[dict[str, Any]]:
    catalog = cards().cards
    return [
        model_body(catalog[serving.model], serving)
        for serving in deployments.all_serving()
        if serving.running and serving.model in catalog and principal.may_use(serving.model)
    ]


def model_body(card: Card, serving: Serving) -> dict[str, Any]:
    return {
        "id": card.id,
        "object": "model",
        "created": 0,
        "owned_by": "modelpilot",
        "modality": card.kind,
        "description": card.description,
        "status": serving.phase or "cold",
        "pricing": {**price_body(price_of(card, serving.price)), "currency": "USD"},
        "parameters": card.model_dump(mode="json")["parameters"],
        "deployment_id": serving.id,
    }


def price_body(price: Price) -> dict[str, Any]:
    """What a request costs by itself, and by all parts: tokens are by the million."""
    return {"unit": "request", "price": usd(price.request), "parts": price.parts()}
