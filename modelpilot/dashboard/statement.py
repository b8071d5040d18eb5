"""An account's month on paper: a page without script that prints on A4."""

import secrets
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from billing.money import MICROS_PER_USD
from modelpilot.jobs import statement as monthly
from modelpilot.jobs.statement import Statement

# As people know the ledger's codes.
WORDS = {
    "topup": "Credit bought",
    "bonus": "Bonus of the first purchase",
    "bonus_taken": "Bonus taken back",
    "bonus_undone": "Bonus given again",
    "grant": "Credit from the operator",
    "code": "Code redeemed",
    "refund": "Refund",
    "refund_undone": "Refund that did not go through",
    "dispute": "Disputed payment",
    "dispute_undone": "Disputed payment returned",
    "repayment": "Debt repaid",
}


def statement(request: HttpRequest, token: str) -> HttpResponse:
    """By the link of `GET /api/v1/billing/statement`, which is a secret for fifteen minutes."""
    found = monthly.linked(token)
    context = {} if found is None else shown(monthly.of_month(*found))
    nonce = secrets.token_urlsafe(16)
    response = render(
        request,
        "billing/statement.html",
        {**context, "nonce": nonce},
        status=404 if found is None else 200,
    )
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def shown(month: Statement) -> dict[str, Any]:
    """What the template needs; amounts as text."""
    return {
        "month": month,
        "opening": dollars(month.opening),
        "closing": dollars(month.closing),
        "moved": dollars(month.moved),
        "charged": dollars(-month.charged),
        "requests": sum(each.requests for each in month.charges),
        "moves": [
            {
                "day": move.created_at,
                "what": WORDS.get(move.type, move.type.replace("_", " ").capitalize()),
                "note": move.note or move.reference,
                "amount": dollars(move.amount),
            }
            for move in month.moves
        ],
        "charges": [
            {"model": each.model, "requests": each.requests, "amount": dollars(-each.cost)}
            for each in month.charges
        ],
    }


def dollars(amount: int) -> str:
    """Cents at least, micro-dollars where there are any: $10.00, -$0.001."""
    number = f"{Decimal(abs(amount)) / MICROS_PER_USD:,.6f}"
    whole, _, fraction = number.partition(".")
    fraction = fraction[:2] + fraction[2:].rstrip("0")
    return f"{'-' if amount < 0 else ''}${whole}.{fraction}"
