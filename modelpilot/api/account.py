"""The caller's money, and what things cost."""

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router

from billing import ledger
from billing.money import usd
from modelpilot.api.auth import PERMISSIONS, Key, principal_of
from modelpilot.fleet.catalog import cards
from modelpilot.hop import hop

router = Router(tags=["Account"])


@router.get("/balance", auth=Key("read"), summary="Read the balance")
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


@router.get("/pricing", auth=Key(*PERMISSIONS, any_of=True), summary="List prices")
async def list_prices(request: HttpRequest) -> HttpResponseBase:
    """The price of every model in the catalog, in USD."""
    data = [
        {"id": card.id, "kind": card.kind, "unit": card.unit, "price": usd(card.price_micros)}
        for card in cards().cards.values()
    ]
    return JsonResponse({"object": "list", "data": data})
