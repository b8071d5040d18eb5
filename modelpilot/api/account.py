"""The caller's money and key, and what things cost."""

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router

from billing import ledger, prices
from billing.money import usd
from modelpilot.accounts.keys import PREFIX, Principal
from modelpilot.accounts.models import ApiKey
from modelpilot.api.answers import account as answers
from modelpilot.api.answers.shapes import ListOf
from modelpilot.api.auth import PERMISSIONS, Key, principal_of
from modelpilot.api.models import price_body
from modelpilot.errors import ApiError
from modelpilot.fleet.catalog import cards, price_of
from modelpilot.hop import hop
from modelpilot.jobs import budgets, usage
from modelpilot.jobs.shown import timestamp

router = Router(tags=["Account"])


@router.get("/balance", auth=Key("read"), summary="Read the balance", response=answers.Balance)
async def read_balance(request: HttpRequest) -> HttpResponseBase:
    """What you own, what running jobs hold of it, and what can be spent, in USD."""
    balance = await hop(ledger.balance, principal_of(request).user_id)
    return JsonResponse(
        {
            "balance": usd(balance.balance),
            "held": usd(balance.held),
            "available": usd(balance.available),
            "currency": "USD",
        }
    )


@router.get("/key", auth=Key("read"), summary="Read this API key", response=answers.Key)
async def read_key(request: HttpRequest) -> HttpResponseBase:
    """What the key that you call with may do, and what it has spent today and this month (UTC).
    A browser session has no key: 404."""
    return JsonResponse(await hop(key_body, principal_of(request)))


def key_body(principal: Principal) -> dict[str, Any]:
    if principal.key_id is None:
        raise ApiError(
            404, "no_api_key", "A browser session has no API key. Call with one, or see /usage."
        )
    key = ApiKey.objects.get(id=principal.key_id)
    today, month = usage.spend(principal.user_id, key.id)
    return {
        "id": key.id,
        "object": "key",
        "name": key.name,
        "key": f"{PREFIX}…{key.last_four}",
        "permissions": key.permissions,
        "models": key.allowed_models,
        "limits": {
            "requests_per_minute": key.requests_per_minute,
            "concurrency": key.concurrency,
        },
        # The smallest of them holds; those with `key` null are the account's.
        "budgets": list(map(budgets.body, budgets.applying(principal.user_id, key.id))),
        "spend": {"today": usd(today), "month": usd(month), "currency": "USD"},
        "created_at": timestamp(key.created_at),
        "expires_at": timestamp(key.expires_at),
        "last_used_at": timestamp(key.last_used_at),
        # The key of before its last rotation works as long.
        "previous_until": timestamp(key.previous_until),
    }


@router.get(
    "/pricing",
    auth=Key(*PERMISSIONS, any_of=True),
    summary="List prices",
    response=ListOf[answers.PricedModel],
)
async def list_prices(request: HttpRequest) -> HttpResponseBase:
    """The price of every model in the catalog, in USD: for a request by itself, and by its `parts`
    (tokens by the million, characters by the thousand)."""
    changed = await hop(prices.in_force)
    data = [
        {
            "id": card.id,
            "kind": card.kind,
            **price_body(price_of(card, changed.get(card.id))),
        }
        for card in cards().cards.values()
    ]
    return JsonResponse({"object": "list", "data": data})
