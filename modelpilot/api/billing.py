"""Buying credit, redeeming codes, and where the money went; and Stripe's webhooks."""

import csv
import io
import logging
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from ninja import Query, Router
from pydantic import AfterValidator, Field

from billing import codes, events, ledger, payments, purchases, statement
from billing.models import Purchase
from billing.money import MICROS_PER_USD, usd
from billing.statement import Entry
from modelpilot.api import gate, limits
from modelpilot.api.answers import account as answers
from modelpilot.api.answers.shapes import PageOf
from modelpilot.api.auth import Key, principal_of
from modelpilot.api.envelope import respond
from modelpilot.api.openapi import sends
from modelpilot.api.outputs import absolute
from modelpilot.api.schemas import CheckoutBody, RedeemBody, spelled
from modelpilot.errors import ApiError
from modelpilot.hop import hop, hop_out
from modelpilot.jobs import statement as monthly
from modelpilot.jobs.shown import timestamp
from modelpilot.jobs.statement import Statement

log = logging.getLogger(__name__)
router = Router(tags=["Billing"])

PAGE = 20
CSV_PAGE = 10_000
# Wrong codes and right ones alike, per account.
REDEEM_LIMIT = (10, 3600)

NOT_SET_UP = ApiError(
    503,
    "payments_not_configured",
    "Credit can't be bought here: the operator has not set up payments. Ask for credit or a code.",
    headers={"x-should-retry": "false"},
)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def in_utc(moment: datetime) -> datetime:
    """PostgreSQL takes no offset from UTC of sixteen hours and more, as RFC 3339 does; what has
    none is in UTC."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return FIRST if moment.year == FIRST.year else LAST


# Times in answers are Unix seconds, so they may be asked for as such.
Moment = Annotated[
    datetime,
    AfterValidator(in_utc),
    spelled(type=["string", "number"], format="date-time"),
]

AWAY = ApiError(
    503,
    "payments_unavailable",
    "The payment service does not answer at the moment. Nothing was paid; try again in a minute.",
    type="server_error",
    headers={"Retry-After": "60"},
)


@router.get(
    "/billing",
    auth=Key("read", polling=True),
    summary="Read the account's money",
    response=answers.Billing,
)
async def read_billing(request: HttpRequest) -> HttpResponseBase:
    """The balance with what is owed (`debt`, repaid first from later credit), whether the
    account is `frozen`, and whether credit can be bought here."""
    owner = principal_of(request).user_id

    def read() -> dict[str, Any]:
        now = ledger.balance(owner)
        return {
            "object": "billing",
            "balance": usd(now.balance),
            "held": usd(now.held),
            "available": usd(now.available),
            "debt": usd(now.debt),
            "frozen": now.frozen,
            "first_purchase_bonus": bool(purchases.bonus_for(owner, MICROS_PER_USD)),
            "payments": payments.configured(),
            "currency": "USD",
        }

    return JsonResponse(await hop(read))


@router.post(
    "/billing/checkout", auth=Key("read"), summary="Buy credit", response={201: answers.Purchase}
)
async def create_checkout(request: HttpRequest, body: CheckoutBody) -> HttpResponseBase:
    """A page (`url`) on which `amount` USD are paid. The first purchase earns half on top."""
    if not payments.configured():
        raise NOT_SET_UP
    owner = principal_of(request).user_id
    base = absolute(request, "/").rstrip("/")

    def create() -> dict[str, Any]:
        purchase = purchases.checkout(owner, body.micros(), base)
        bonus = purchases.bonus_for(owner, purchase.amount)
        return {**purchase_body(purchase), "bonus": usd(bonus)}

    try:
        return JsonResponse(await hop_out(create), status=201)
    except (payments.Unavailable, payments.Refused) as error:
        log.error("Stripe made no checkout: %s", error)
        raise AWAY from error


@router.get(
    "/billing/purchases",
    auth=Key("read", polling=True),
    summary="List purchases",
    response=PageOf[answers.Purchase],
)
async def list_purchases(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=100)] = PAGE,
    after: Annotated[str | None, Field(max_length=60)] = None,
) -> HttpResponseBase:
    """Your purchases, newest first, with what was refunded of them and their receipts."""
    owner = principal_of(request).user_id

    def listed() -> dict[str, Any]:
        rows = purchases.of(owner, limit=limit + 1, after=after)
        if rows is None:
            raise ApiError(404, "purchase_not_found", "You have no such purchase.", param="after")
        return {
            "object": "list",
            "data": [purchase_body(purchase) for purchase in rows[:limit]],
            "has_more": len(rows) > limit,
        }

    return JsonResponse(await hop(listed))


@router.post(
    "/billing/redeem", auth=Key("read"), summary="Redeem a code", response=answers.Redemption
)
async def redeem(request: HttpRequest, body: RedeemBody) -> HttpResponseBase:
    """Add the credit of a code, once per account."""
    owner = principal_of(request).user_id
    await limits.check_tries("redeem", str(owner), *REDEEM_LIMIT)
    try:
        amount = await hop(codes.redeem, owner, body.code)
    except codes.InvalidCode:
        raise ApiError(
            404,
            "code_not_found",
            "This code is wrong, used up or over. Check its spelling.",
            param="code",
        ) from None
    except codes.AlreadyRedeemed:
        raise ApiError(
            409, "code_already_redeemed", "Your account has redeemed this code.", param="code"
        ) from None
    balance = await hop(ledger.balance, owner)
    return JsonResponse(
        {"object": "redemption", "amount": usd(amount), "available": usd(balance.available)}
    )


@router.get(
    "/billing/transfers",
    auth=Key("read", polling=True),
    summary="List moves of money",
    response=PageOf[answers.Transfer],
    openapi_extra=sends("text/csv"),
)
async def list_transfers(
    request: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=CSV_PAGE)] = PAGE,
    after: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    since: Moment | None = None,
    until: Moment | None = None,
    format: Literal["json", "csv"] = "json",  # noqa: A002 - the query's word
) -> HttpResponseBase:
    """What came into your account (+) and left it (-), newest first; as JSON at most 100, as
    CSV 10,000 a page. `reference` is a charge's job or a purchase."""
    if format == "json" and limit > 100:
        raise ApiError(
            422, "invalid_value", "'limit' must be at most 100, or format=csv.", param="limit"
        )
    owner = principal_of(request).user_id
    found = await hop(
        statement.entries, owner, limit=limit + 1, before=after, since=since, until=until
    )
    page, more = found[:limit], len(found) > limit
    if format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="transfers.csv"'}
        if more:
            # Where the next page begins; the rest of the query stays.
            headers["x-next-after"] = str(page[-1].id)
        return HttpResponse(statement.table(page), content_type="text/csv", headers=headers)
    return JsonResponse(
        {"object": "list", "data": [entry_body(entry) for entry in page], "has_more": more}
    )


@router.get(
    "/billing/statement",
    auth=Key("read", polling=True),
    summary="Read a month",
    response=answers.Statement,
    openapi_extra=sends("text/csv"),
)
async def read_statement(
    request: HttpRequest,
    month: Annotated[str, Field(max_length=7), spelled(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
    | None = None,
    format: Literal["json", "csv"] = "json",  # noqa: A002 - the query's word
) -> HttpResponseBase:
    """The account's statement of a `month` like 2026-11 (UTC; the running one, unless you say):
    what it began with, what came in, what the jobs of each model cost, what is left. `url` is the
    page to print, for fifteen minutes."""
    first = monthly.first_of(f"{timezone.now():%Y-%m}" if month is None else month)
    if first is None:
        raise ApiError(
            422,
            "invalid_value",
            "'month' must be one like 2026-11 that has begun.",
            param="month",
        )
    owner = principal_of(request).user_id
    found = await hop(monthly.of_month, owner, first)
    if format == "csv":
        return statement_table(found)
    url = absolute(request, reverse("statement", args=[monthly.link(owner, first)]))
    return JsonResponse(
        {
            "object": "statement",
            "month": found.month,
            "complete": found.complete,
            "opening_balance": usd(found.opening),
            "moves": [entry_body(move) for move in found.moves],
            "charges": [
                {"model": each.model, "requests": each.requests, "cost": usd(each.cost)}
                for each in found.charges
            ],
            "charged": usd(found.charged),
            "closing_balance": usd(found.closing),
            "currency": "USD",
            "url": url,
        }
    )


def statement_table(found: Statement) -> HttpResponse:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("date", "type", "reference", "requests", "amount"))
    for row in monthly.rows(found):
        reference, amount = row["reference"], row["amount"]
        row |= {"reference": statement.harmless(reference), "amount": statement.decimal(amount)}
        writer.writerow(row.values())
    headers = {"Content-Disposition": f'attachment; filename="statement-{found.month}.csv"'}
    return HttpResponse(out.getvalue(), content_type="text/csv", headers=headers)


def purchase_body(purchase: Purchase) -> dict[str, Any]:
    is_open = purchase.state == Purchase.State.OPEN
    return {
        "id": str(purchase.id),
        "object": "purchase",
        "state": purchase.state,
        "amount": usd(purchase.amount),
        "bonus": usd(purchase.bonus),
        "refunded": usd(getattr(purchase, "reversed", None) or 0),
        "currency": "USD",
        "url": (purchase.url or None) if is_open else None,
        "receipt_url": purchase.receipt_url or None,
        "created_at": timestamp(purchase.created_at),
        "paid_at": timestamp(purchase.paid_at),
    }


def entry_body(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "object": "transfer",
        "type": entry.type,
        "amount": usd(entry.amount),
        "reference": entry.reference or None,
        "note": entry.note or None,
        "created_at": timestamp(entry.created_at),
    }


@csrf_exempt
async def stripe_webhook(request: HttpRequest) -> HttpResponseBase:
    """Stripe tells that something happened; who it is says the signature alone."""
    try:
        return await heard(request)
    except ApiError as error:
        return respond(error)


async def heard(request: HttpRequest) -> HttpResponseBase:
    if request.method != "POST":
        raise ApiError(405, "method_not_allowed", "Webhooks are POSTed.", headers={"Allow": "POST"})
    gate.check_body(request)
    length = request.headers.get("Content-Length", "0")
    if int(length if length.isdigit() else 0) > events.LARGEST or len(request.body) > (
        events.LARGEST
    ):
        raise ApiError(413, "request_too_large", "A webhook has at most 256 KiB.")
    try:
        event = events.opened(request.body, request.headers.get("Stripe-Signature", ""))
    except events.Closed:
        raise ApiError(
            503,
            "webhook_not_configured",
            "Set STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET to take webhooks.",
        ) from None
    except events.Forged as forged:
        raise ApiError(400, "invalid_webhook", str(forged)) from None
    if event is not None:
        try:
            await hop_out(events.handle, event)
        except (payments.Unavailable, payments.Refused) as error:
            log.error("Webhook %s %s: %s", event.type, event.id, error)
            raise AWAY from error
    return JsonResponse({"received": True})
