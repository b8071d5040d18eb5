"""What requests cost, and that nobody spends what isn't there."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.system import System

PROVED = "The books are proved."


def test_out_of_credit_is_402_and_says_what_is_missing(newcomer: NewCaller) -> None:
    dora = newcomer("0.0015")
    assert dora.chat("hello").status_code == 200
    error = error_of(dora.chat("hello"), 402, "insufficient_quota")
    assert error["required"] == 0.001
    assert error["available"] == 0.0005
    assert error["topup_url"].endswith("/dashboard/billing")
    assert error["type"] == "insufficient_quota"
    error = error_of(dora.chat("hello", n=4), 402, "insufficient_quota")
    assert error["required"] == 0.004
    body = {"model": "kokoro", "text": "Hello."}
    assert (
        error_of(dora.post("generate/audio", body), 402, "insufficient_quota")["required"] == 0.002
    )
    assert dora.available() == 0.0005


def test_two_hundred_at_once_with_funds_for_ten(
    newcomer: NewCaller, system: System, record_property: Callable[[str, object], None]
) -> None:
    dora = newcomer("0.01")
    dora.get("balance")

    def one(number: int) -> int:
        return dora.chat(f"number {number}", max_tokens=2).status_code

    with ThreadPoolExecutor(200) as threads:
        statuses = Counter(threads.map(one, range(200)))
    assert statuses == {200: 10, 402: 190}
    record_property("reached", f"over HTTP {statuses[200]} admitted, {statuses[402]} refused")
    assert dora.get("balance").json() == {
        "balance": 0,
        "held": 0,
        "available": 0,
        "currency": "USD",
    }
    jobs = dora.get("jobs", params={"limit": 100}).json()["data"]
    assert [job["cost"] for job in jobs] == [0.001] * 10
    assert PROVED in system.manage("reconcile")


def test_a_failed_job_costs_nothing(newcomer: NewCaller, system: System) -> None:
    dora = newcomer()
    assert dora.chat("[error]", "echo-slow").status_code == 500
    job = dora.newest_job()
    assert (job["state"], job["cost"]) == ("failed", 0)
    assert job["error"]["code"] == "generation_failed"
    assert dora.available() == 1
    assert PROVED in system.manage("reconcile")


def test_a_running_job_holds_its_price(newcomer: NewCaller) -> None:
    dora = newcomer()
    later = {"Prefer": "respond-async"}
    job = dora.chat("a b", "echo-slow", max_tokens=60, n=2, headers=later).json()
    balance = dora.get("balance").json()
    assert balance == {"balance": 1, "held": 0.002, "available": 0.998, "currency": "USD"}
    assert job["cost"] == 0
    dora.post(f"jobs/{job['id']}/cancel")
    dora.ended(job["id"])
    assert dora.held() == 0


def test_prices_are_listed(alice: Caller) -> None:
    pricing = alice.get("pricing").json()
    assert pricing["object"] == "list"
    prices = {row["id"]: row for row in pricing["data"]}
    assert prices["kokoro"] == {
        "id": "kokoro",
        "kind": "audio",
        "unit": "request",
        "price": 0.002,
        "parts": {"request": 0.002},
    }
    original = {
        "flux-schnell": 0.008,
        "sdxl": 0.005,
        "zimage": 0.008,
        "kokoro": 0.002,
        "chatterbox": 0.005,
        "wan-t2v": 0.30,
        "qwen3-8b": 0.01,
        "flux-dev": 0.025,
        "gemma3:4b": 0.01,
        "deepseek-r1": 0.01,
        "smollm2-135m": 0.001,
        "piper-joe": 0.001,
    }
    assert {name: prices[name]["price"] for name in original} == original
