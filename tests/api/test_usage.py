"""GET /usage: what the account used, equal to what it paid."""

import csv
import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.system import System

LATER = {"Prefer": "respond-async"}
COUNTS = {"requests", "succeeded", "failed", "cost", "tokens_in", "tokens_out", "seconds"}


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def usage(caller: Caller, **params: str) -> list[dict[str, Any]]:
    body = caller.get("usage", params=params).json()
    assert body.keys() == {"object", "data"}
    assert body["object"] == "list"
    data: list[dict[str, Any]] = body["data"]
    return data


def lines(response: requests.Response) -> list[dict[str, str]]:
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text)))


def test_after_500_mixed_requests_it_is_what_was_paid(newcomer: NewCaller, system: System) -> None:
    dora = newcomer("1")

    def one(number: int) -> str:
        match number % 5:
            case 0:
                return str(dora.chat("[error]", "echo-slow").status_code)
            case 1:
                job = dora.chat("a b", "echo-slow", headers=LATER, max_tokens=200, n=3).json()["id"]
                dora.post(f"jobs/{job}/cancel")
                return str(dora.ended(job)["state"])
            case 2:
                return str(dora.chat("a b", headers={"Cancel-After": "1s"}).status_code)
        return str(dora.chat(f"{number} b c", n=number % 4 + 1, max_tokens=4).status_code)

    with ThreadPoolExecutor(16) as threads:
        ends = Counter(threads.map(one, range(500)))

    assert {"200", "500", "cancelled"} <= ends.keys() <= {"200", "409", "500", "cancelled"}
    (total,) = usage(dora)
    assert (total["requests"], total["failed"]) == (500, ends["500"])
    assert total["succeeded"] == ends["200"]
    micros = round(total["cost"] * 1_000_000)
    assert micros == round((1 - dora.available()) * 1_000_000) > 300_000
    for groups in ("model", "key", "day,model,key"):
        rows = usage(dora, group_by=groups)
        assert sum(round(row["cost"] * 1_000_000) for row in rows) == micros
        assert sum(row["requests"] for row in rows) == 500
    assert "The books are proved." in system.manage("reconcile")


def test_it_is_told_by_day_model_and_key(newcomer: NewCaller, system: System) -> None:
    dora = newcomer("1")
    dora.chat("one two", max_tokens=3)
    dora.chat("one", "echo-slow", max_tokens=1)
    key = dora.get("key").json()["id"]

    (row,) = usage(dora)
    assert row.keys() == COUNTS | {"day"}
    assert row["day"] == today()
    assert (row["requests"], row["succeeded"], row["failed"]) == (2, 2, 0)
    assert (row["cost"], row["tokens_in"], row["tokens_out"]) == (0.002, 3, 4)
    assert 0 < row["seconds"] < 5
    by_model = usage(dora, group_by="model")
    assert [(row["model"], row["tokens_out"]) for row in by_model] == [
        ("echo", 3),
        ("echo-slow", 1),
    ]
    by_key = usage(dora, group_by="key,day,model")
    assert [(row["key"], row["key_name"], row["day"]) for row in by_key] == [
        (key, "manage.py", today())
    ] * 2
    jobs = dora.get("jobs", params={"key": key}).json()["data"]
    assert len(jobs) == 2
    assert dora.get("jobs", params={"key": key + 1}).json()["data"] == []


def test_days_are_chosen_in_utc(newcomer: NewCaller) -> None:
    dora = newcomer()
    dora.chat("hello")
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"

    assert len(usage(dora, **{"from": today(), "to": today()})) == 1
    assert usage(dora, **{"from": yesterday, "to": yesterday}) == []
    assert len(usage(dora, **{"from": yesterday})) == 1


def test_it_is_a_table_too(newcomer: NewCaller) -> None:
    dora = newcomer()
    dora.chat("one two", max_tokens=3)
    asked = dora.get("usage", params={"format": "csv", "group_by": "model,key"})
    accepted = dora.get("usage", params={"group_by": "model,key"}, headers={"Accept": "text/csv"})
    assert asked.text == accepted.text
    assert "attachment" in asked.headers["Content-Disposition"]

    (row,) = lines(asked)
    assert list(row)[:3] == ["model", "key", "key_name"]
    assert row.keys() == {"model", "key", "key_name", *COUNTS}
    assert (row["model"], row["requests"], row["cost"]) == ("echo", "1", "0.001000")
    both = {"Accept": "application/json, text/csv;q=0.5"}
    assert dora.get("usage", headers=both).json()["object"] == "list"
    assert dora.get("usage?format=json", headers={"Accept": "text/csv"}).json()["data"]


def test_no_cell_is_a_formula(newcomer: NewCaller, system: System) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a,"b"']
    dora = newcomer()
    mine = dora.get("key").json()["id"]
    # A key for each name, of the same account, and something that each has used.
    program = (
        "from modelpilot.accounts.models import ApiKey\n"
        "from modelpilot.accounts import keys\n"
        f"owner = ApiKey.objects.get(id={mine}).user\n"
        f"for name in {names!r}: print(keys.create(owner, name=name))"
    )
    for key in system.manage("shell", "-v0", "-c", program).split():
        assert Caller(dora.base_url, key).chat("hello").status_code == 200

    rows = lines(dora.get("usage", params={"format": "csv", "group_by": "key"}))

    assert [row["key_name"] for row in rows] == [*(f"'{name}" for name in names[:-1]), names[-1]]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"group_by": "hour"}, "group_by"),
        ({"group_by": ""}, "group_by"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"to": "0001-01-01"}, "to"),
        ({"from": "9999-12-31"}, "from"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
        ({"from": "2024-01-01", "to": "2026-01-01"}, "from"),
        ({"format": "xml"}, "format"),
    ],
)
def test_a_senseless_question_is_422(alice: Caller, query: dict[str, str], param: str) -> None:
    assert error_of(alice.get("usage", params=query), 422, "invalid_value")["param"] == param


def test_another_account_sees_nothing_of_it(newcomer: NewCaller) -> None:
    dora, charlie = newcomer(), newcomer()
    dora.chat("hello")

    assert usage(charlie, group_by="day,model,key") == []
    assert charlie.get("key").json()["spend"] == {"today": 0, "month": 0, "currency": "USD"}
    assert charlie.get("key").json()["id"] != dora.get("key").json()["id"]
    theirs = dora.get("key").json()["id"]
    assert charlie.get("jobs", params={"key": theirs}).json()["data"] == []
