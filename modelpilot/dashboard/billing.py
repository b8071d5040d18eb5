"""Where Stripe sends the customer after paying: the credit is there when the page is."""

import re
from contextlib import suppress

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from billing import ledger, payments, purchases
from billing.models import Purchase
from modelpilot.hop import hop, hop_out

SESSION = re.compile(r"cs_[A-Za-z0-9_]{10,200}")
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


async def success(request: HttpRequest) -> HttpResponseBase:
    """The session's id is a secret between Stripe, the customer and us: it opens this page."""
    session = request.GET.get("session_id", "")
    purchase = await hop(known, session) if SESSION.fullmatch(session) else None
    if purchase is not None and purchase.state != Purchase.State.PAID:
        # Else the webhook or the reconciler will; the page says that it takes a while.
        with suppress(payments.Unavailable, payments.Refused, payments.UnknownSession):
            purchase = await hop_out(purchases.fulfil, session)
    return await hop(page, request, purchase)


def known(session: str) -> Purchase | None:
    return Purchase.objects.filter(session=session).first()


def page(request: HttpRequest, purchase: Purchase | None) -> HttpResponse:
    context = {} if purchase is None else {"purchase": purchase, **amounts(purchase)}
    response = render(
        request, "billing_success.html", context, status=404 if purchase is None else 200
    )
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def amounts(purchase: Purchase) -> dict[str, str]:
    available = ledger.balance(purchase.owner_id).available
    every = {"amount": purchase.amount, "bonus": purchase.bonus, "available": available}
    return {name: f"${amount / 1_000_000:.2f}" for name, amount in every.items()}
