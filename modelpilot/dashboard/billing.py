"""Where Stripe sends the customer after paying: the credit is there when the page is."""

import re
from contextlib import suppress

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from billing import ledger, payments, purchases
from billing.models import Purchase

SESSION = re.compile(r"cs_[A-Za-z0-9_]{10,200}")


def success(request: HttpRequest) -> HttpResponse:
    """The session's id is a secret between Stripe, the customer and us: it opens this page."""
    session = request.GET.get("session_id", "")
    purchase = known(session) if SESSION.fullmatch(session) else None
    if purchase is not None and purchase.state != Purchase.State.PAID:
        # Else the webhook or the reconciler will; the page says that it takes a while.
        with suppress(payments.Unavailable, payments.Refused, payments.UnknownSession):
            purchase = purchases.fulfil(session)
    return page(request, purchase)


def known(session: str) -> Purchase | None:
    return Purchase.objects.filter(session=session).first()


def page(request: HttpRequest, purchase: Purchase | None) -> HttpResponse:
    context = {} if purchase is None else {"purchase": purchase, **amounts(purchase)}
    response = render(
        request, "billing_success.html", context, status=404 if purchase is None else 200
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def amounts(purchase: Purchase) -> dict[str, str]:
    available = ledger.balance(purchase.owner_id).available
    every = {"amount": purchase.amount, "bonus": purchase.bonus, "available": available}
    return {name: f"${amount / 1_000_000:.2f}" for name, amount in every.items()}
