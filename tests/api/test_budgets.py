"""Budgets over HTTP: what is refused and how, who sees them, and that no key raises its own."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelpilot.accounts import keys
from modelpilot.accounts.keys import Principal
from modelpilot.accounts.models import ApiKey, User
from modelpilot.api import budgets
from modelpilot.api.schemas import BudgetBody, LowBalanceBody
from modelpilot.errors import ApiError
from tests.api.caller import Caller, error_of
from tests.system import System

EMAIL = "thrifty@example.com"
LATER = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def callers(system: System) -> list[Caller]:
    """Three keys of one account: with a budget for ten chats a day, for two, and none."""
    program = (
        "from django.core.management import call_command\n"
        f"call_command('account', {EMAIL!r}, '--credit=5')\n"
        f"call_command('key', 'create', {EMAIL!r}, '--daily=0.01', '--monthly=1', '--soft=50%')\n"
        f"call_command('key', 'create', {EMAIL!r}, '--daily=0.002')\n"
    )
    printed = system.manage("shell", "-v0", "-c", program).splitlines()
    plain, *capped = [line for line in printed if line.startswith("mp_live_")]
    return [Caller(system.base_url, key) for key in (*capped, plain)]


def test_of_40_at_once_with_a_budget_for_10_exactly_10(callers: list[Caller]) -> None:
    ten, *_ = callers
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda number: ten.chat(f"word {number}"), range(40)))

    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [402] * 30
    refused = next(answer for answer in answers if answer.status_code == 402)
    error = error_of(refused, 402, "budget_exceeded")
    assert error["type"] == "insufficient_quota"
    assert "daily budget of this API key is $0.01" in error["message"]
    assert error["required"] == 0.001
    assert error["budget"]["spent"] == 0.01
    day, month = ten.get("key").json()["budgets"]
    assert (day["period"], day["cap"], day["spent"], day["remaining"]) == ("day", 0.01, 0.01, 0)
    assert (month["period"], month["spent"], month["soft_limit"]) == ("month", 0.01, 0.5)
    assert time.time() < day["renews_at"] <= time.time() + 86_400
    assert day["renews_at"] % 86_400 == 0
    assert ten.get("key").json()["spend"]["today"] == 0.01


def test_what_a_cancelled_job_held_comes_back(callers: list[Caller]) -> None:
    _, two, plain = callers
    jobs = [two.chat("a b c", "echo-slow", headers=LATER).json()["id"] for _ in range(2)]
    error_of(two.chat("hello"), 402, "budget_exceeded")
    assert plain.chat("hello").status_code == 200
    for job in jobs:
        assert two.post(f"jobs/{job}/cancel").status_code in (200, 202)
        two.ended(job)
    spent = sum(two.job(job)["cost"] for job in jobs)
    (day,) = two.get("key").json()["budgets"]
    assert day["spent"] == spent


def test_the_accounts_are_listed(callers: list[Caller], charlie: Caller, system: System) -> None:
    ten, two, plain = callers
    system.manage("budget", EMAIL, "--monthly=4", "--low-balance=1")

    listed = plain.get("budgets").json()

    ids = [caller.get("key").json()["id"] for caller in (ten, two)]
    assert [(each["key"], each["period"]) for each in listed["data"]] == [
        (None, "month"),
        (ids[0], "day"),
        (ids[0], "month"),
        (ids[1], "day"),
    ]
    assert listed["low_balance"] == 1
    assert [each["key"] for each in two.get("key").json()["budgets"]] == [None, ids[1]]
    nothing = charlie.get("budgets").json()
    assert (nothing["data"], nothing["low_balance"]) == ([], None)
    assert "The books are proved." in system.manage("reconcile")


def test_no_key_changes_a_budget(callers: list[Caller], bob: Caller) -> None:
    for caller in (*callers, bob):
        for path, body in (
            ("budgets", {"period": "day", "cap": 100}),
            ("budgets/low_balance", {"threshold": 3}),
        ):
            error = error_of(caller.send("PUT", path, json=body), 403, "permission_denied")
            assert "manage.py budget" in error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"period": "week", "cap": 1}, "period"),
        ({"period": "day", "cap": -1}, "cap"),
        ({"period": "day", "cap": True}, "cap"),
        ({"period": "day", "cap": 1e300}, "cap"),
        ({"period": "day", "cap": 0.0000001}, "cap"),
        ({"period": "day", "cap": 1, "soft_percent": 101}, "soft_percent"),
        ({"period": "day", "cap": 1, "soft_percent": 1, "soft_limit": 1}, "soft_limit"),
    ],
    ids=str,
)
def test_a_budget_has_bounds(charlie: Caller, body: dict[str, Any], param: str) -> None:
    error = error_of(charlie.send("PUT", "budgets", json=body), 422, "invalid_value")
    assert error["param"] == param


# A browser's session, which has no key: as its routes call what they call.


def session(user: User) -> Principal:
    return Principal(user.id, None, frozenset(["read"]), None, can_deploy=False, email=user.email)


@pytest.fixture
def dora(db: None) -> User:
    return User.objects.create_user("dora@example.com")


def test_a_session_sets_budgets(dora: User) -> None:
    keys.create(dora)
    key = ApiKey.objects.get(user=dora).id
    budgets.put(session(dora), BudgetBody(period="day", cap=0.07, soft_percent=50))
    budgets.put(session(dora), BudgetBody(period="month", cap=5, soft_limit=4.5, key=key))
    listed = budgets.warn(session(dora), LowBalanceBody(threshold=2.5))

    assert [(each["key"], each["cap"], each["soft_limit"]) for each in listed["data"]] == [
        (None, 0.07, 0.035),
        (key, 5, 4.5),
    ]
    assert listed["low_balance"] == 2.5
    assert budgets.warn(session(dora), LowBalanceBody(threshold=None))["low_balance"] is None
    assert len(budgets.put(session(dora), BudgetBody(period="day", cap=None))["data"]) == 1


def test_anothers_key_is_not_found(dora: User) -> None:
    emil = User.objects.create_user("emil@example.com")
    keys.create(emil)
    body = BudgetBody(period="day", cap=1, key=ApiKey.objects.get(user=emil).id)
    with pytest.raises(ApiError, match="no such key"):
        budgets.put(session(dora), body)
