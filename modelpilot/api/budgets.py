"""What the account and its keys may spend a day and a month."""

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from ninja import Router

from billing.models import LowBalance
from billing.money import micros, usd
from modelpilot.accounts.keys import Principal
from modelpilot.accounts.models import ApiKey
from modelpilot.api.answers import account as answers
from modelpilot.api.auth import Key, principal_of
from modelpilot.api.schemas import BudgetBody, LowBalanceBody
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import budgets
from modelpilot.jobs.budgets import Cap

router = Router(tags=["Account"])


@router.get("/budgets", auth=Key("read"), summary="List budgets", response=answers.Budgets)
async def list_budgets(request: HttpRequest) -> HttpResponseBase:
    """What the account and each of its keys may spend a day and a month (UTC), and what they have:
    `spent` includes what jobs under way hold. `low_balance`: below it you get a mail."""
    return JsonResponse(await hop(listed, principal_of(request)))


@router.put("/budgets", auth=Key("read"), summary="Set a budget", response=answers.Budgets)
async def put_budget(request: HttpRequest, body: BudgetBody) -> HttpResponseBase:
    """What the account, or one `key`, may spend a `period`: `cap` in USD, null ends it. You get a
    mail at `soft_percent` of it or at `soft_limit`. In the browser only: no key sets budgets."""
    return JsonResponse(await hop(put, principal_of(request), body))


@router.put(
    "/budgets/low_balance",
    auth=Key("read"),
    summary="Set the low-balance mail",
    response=answers.Budgets,
)
async def put_low_balance(request: HttpRequest, body: LowBalanceBody) -> HttpResponseBase:
    """Mail me once my balance falls below `threshold` USD; null: never. In the browser only."""
    return JsonResponse(await hop(warn, principal_of(request), body))


def listed(principal: Principal) -> dict[str, Any]:
    low = LowBalance.objects.filter(owner=principal.user_id).first()
    return {
        "object": "list",
        "data": list(map(budgets.body, budgets.of_account(principal.user_id))),
        "low_balance": None if low is None else usd(low.threshold),
        "currency": "USD",
    }


def put(principal: Principal, body: BudgetBody) -> dict[str, Any]:
    require_session(principal)
    if body.key is not None:
        mine = ApiKey.objects.filter(id=body.key, user=principal.user_id)
        if not mine.exists():
            raise ApiError(404, "key_not_found", "You have no such key.", param="key")
    cap = None
    if body.cap is not None:
        soft = None if body.soft_limit is None else micros(repr(body.soft_limit))
        cap = Cap(micros(repr(body.cap)), body.soft_percent, soft)
    budgets.put(principal.user_id, body.period, cap, key=body.key)
    return listed(principal)


def warn(principal: Principal, body: LowBalanceBody) -> dict[str, Any]:
    require_session(principal)
    budgets.warn_below(
        principal.user_id, None if body.threshold is None else micros(repr(body.threshold))
    )
    return listed(principal)


def require_session(principal: Principal) -> None:
    """A key must not raise what it is held to."""
    if principal.key_id is not None:
        raise ApiError(
            403,
            "permission_denied",
            "API keys can't change budgets. Their account's owner does in the dashboard, or the "
            "operator with `manage.py budget` and `manage.py key limit`.",
            type="permission_error",
        )
