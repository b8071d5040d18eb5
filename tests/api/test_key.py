"""A key about itself, and what it is held to."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelpilot.accounts.keys import Principal
from modelpilot.api.account import key_body
from modelpilot.errors import ApiError
from tests.api.caller import Caller, error_of
from tests.system import System

LATER = {"Prefer": "respond-async"}
EMAIL = "keyholder@example.com"


# The keys of one account; a command a key would take a minute.
KEYS = {
    "CI": "--permissions=read,proxy --models=echo,echo-slow --requests-per-minute=1000 "
    "--concurrency=7 --expires=2100-01-01",
    "plain": "",
    "saver": "",
    "generate": "--permissions=generate",
    "echo": "--models=echo",
    "expired": "--expires=0",
    "revoked": "",
    "rotated": "",
    "five": "--requests-per-minute=5",
    "three": "--concurrency=3",
}


@pytest.fixture(scope="module")
def keys(system: System) -> dict[str, Caller]:
    program = (
        "from django.core.management import call_command\n"
        f"call_command('account', {EMAIL!r}, '--credit=5')\n"
        f"for name, options in {KEYS!r}.items():\n"
        f"    call_command('key', 'create', {EMAIL!r}, '--name', name, *options.split())\n"
    )
    printed = system.manage("shell", "-v0", "-c", program).splitlines()
    _, *made = [line for line in printed if line.startswith("mp_live_")]
    return {name: Caller(system.base_url, key) for name, key in zip(KEYS, made, strict=True)}


def about(caller: Caller) -> dict[str, Any]:
    body: dict[str, Any] = caller.get("key").json()
    return body


def test_it_tells_what_it_may_and_has_spent(keys: dict[str, Caller]) -> None:
    key = keys["CI"]
    before = about(key)
    assert key.chat("hello", n=2).status_code == 200
    after = about(key)

    assert after.pop("spend") == {"today": 0.002, "month": 0.002, "currency": "USD"}
    assert before.pop("spend") == {"today": 0, "month": 0, "currency": "USD"}
    now = time.time()
    assert now - 60 < after.pop("last_used_at") <= now + 1
    assert now - 60 < after.pop("created_at") <= now + 1
    assert isinstance(after.pop("id"), int)
    assert after == {
        "object": "key",
        "name": "CI",
        "key": f"mp_live_…{key.key[-4:]}",
        "permissions": ["read", "proxy"],
        "models": ["echo", "echo-slow"],
        "limits": {"requests_per_minute": 1000, "concurrency": 7},
        "budgets": [],
        "expires_at": 4102444800,
        "previous_until": None,
    }


def test_spend_is_the_keys_own(keys: dict[str, Caller]) -> None:
    keys["plain"].chat("hello")
    saver = keys["saver"]

    assert about(saver)["spend"]["month"] == 0
    assert about(saver)["limits"] == {"requests_per_minute": None, "concurrency": None}
    assert about(saver)["models"] is None


def test_a_key_needs_read_to_look_at_itself(keys: dict[str, Caller]) -> None:
    error_of(keys["generate"].get("key"), 403, "permission_denied")


def test_a_browser_session_has_no_key() -> None:
    session = Principal(1, None, frozenset(["read"]), None, can_deploy=False, email="x@example.com")
    with pytest.raises(ApiError) as refusal:
        key_body(session)
    assert (refusal.value.status, refusal.value.code) == (404, "no_api_key")


def test_it_may_call_its_own_models_only(keys: dict[str, Caller]) -> None:
    key = keys["echo"]
    assert key.chat("hello").status_code == 200
    error = error_of(key.chat("hello", "echo-slow"), 403, "permission_denied")
    assert (error["param"], "'echo-slow'" in error["message"]) == ("model", True)


def test_who_may_not_come_in_is_told_why(system: System, keys: dict[str, Caller]) -> None:
    error = error_of(keys["expired"].get("key"), 401, "invalid_api_key")
    assert "expired on" in error["message"]
    revoked = keys["revoked"]
    system.manage("key", "revoke", str(about(revoked)["id"]))
    error = error_of(revoked.chat("hello"), 401, "invalid_api_key")
    assert "was revoked" in error["message"]


def test_both_secrets_work_after_a_rotation(system: System, keys: dict[str, Caller]) -> None:
    old = keys["rotated"]
    old.chat("hello")
    key = about(old)["id"]
    new = Caller(system.base_url, system.manage("key", "rotate", str(key)).split()[-1])

    assert new.chat("hello").status_code == old.chat("hello").status_code == 200
    assert about(new) == about(old)
    assert about(new)["spend"]["today"] == 0.003
    until = about(new)["previous_until"]
    assert time.time() + 86_000 < until < time.time() + 86_500


def test_more_requests_than_the_key_may_are_429(keys: dict[str, Caller]) -> None:
    if (second := time.time() % 60) > 50:  # the window slides at the turn of the minute
        time.sleep(60.5 - second)
    key, other = keys["five"], keys["plain"]
    answers = [key.get("models") for _ in range(7)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[0].headers["RateLimit-Policy"] == '"key";q=5;w=60'
    assert answers[0].headers["RateLimit"].startswith('"key";r=4;t=')
    assert answers[0].headers["x-ratelimit-limit-requests"] == "5"
    error = error_of(answers[-1], 429, "rate_limit_exceeded")
    assert "API key" in error["message"]
    assert error["type"] == "rate_limit_error"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 120
    # Looking does not count, and other keys have windows of their own.
    assert key.get("jobs").status_code == 200
    assert other.get("models").headers["RateLimit-Policy"].startswith('"default"')


def test_more_jobs_than_the_key_may_are_429(keys: dict[str, Caller]) -> None:
    key, other = keys["three"], keys["plain"]

    def start(_: int) -> Any:
        return key.chat("a b", "echo-slow", max_tokens=600, headers=LATER)

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(start, range(12)))

    jobs = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    assert len(jobs) == 3
    refused = next(answer for answer in answers if answer.status_code != 202)
    error = error_of(refused, 429, "rate_limit_exceeded")
    assert "3 jobs" in error["message"]
    assert int(refused.headers["Retry-After"]) >= 1
    assert other.chat("hello").status_code == 200
    key.post(f"jobs/{jobs[0]}/cancel")
    key.ended(jobs[0])
    again = start(0)
    assert again.status_code == 202
    for job in (*jobs[1:], again.json()["id"]):
        key.post(f"jobs/{job}/cancel")
        key.ended(job)
