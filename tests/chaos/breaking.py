"""How the parts of a running product are found and killed, and what must hold afterwards."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psutil
import requests

from tests.api.caller import Caller
from tests.leftovers import eventually, processes
from tests.system import System

LATER = {"Prefer": "respond-async"}
PRICE = 0.001


def pods(system: System) -> list[psutil.Process]:
    """The pods' processes, the oldest first."""
    found = []
    for process in processes(system.data):
        with suppress(psutil.Error):
            words = process.cmdline()
            if "manage.py" in " ".join(words) and "pod" in words:
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def kill_pods(system: System) -> None:
    found = pods(system)
    assert found
    for pod in found:
        pod.kill()


def kill_server(system: System, name: str) -> int:
    """kill -9 of "valkey" or "postgres"; returns its pid."""
    pid = int((system.data / "run" / f"{name}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    return pid


def answers(system: System) -> bool:
    try:
        return requests.get(f"{system.base_url}/readyz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def submitted(caller: Caller, count: int, tokens: int = 40, model: str = "echo-slow") -> list[str]:
    """Jobs nobody waits for, of `tokens` / 20 seconds each."""
    with ThreadPoolExecutor(8) as threads:
        responses = list(
            threads.map(
                lambda number: caller.chat(
                    f"job number {number}", model, max_tokens=tokens, headers=LATER
                ),
                range(count),
            )
        )
    assert {response.status_code for response in responses} == {202}
    return [response.json()["id"] for response in responses]


def all_ended(caller: Caller, jobs: list[str], within_s: float = 60) -> list[dict[str, Any]]:
    """The jobs once all have ended. The web may be away meanwhile."""
    deadline = time.monotonic() + within_s
    ended: dict[str, dict[str, Any]] = {}
    while len(ended) < len(jobs):
        for job in jobs:
            if job in ended:
                continue
            with suppress(requests.RequestException, KeyError):
                body = caller.job(job)
                if body["state"] not in ("queued", "running"):
                    ended[job] = body
        assert time.monotonic() < deadline, [caller.job(job) for job in set(jobs) - set(ended)]
        time.sleep(0.1)
    return [ended[job] for job in jobs]


def say_job(number: int, tokens: int = 40) -> str:
    """What job `number` of `submitted` says."""
    words = f"job number {number}".split()
    return "".join(f"{words[place % 3]} " for place in range(tokens))


def assert_all_said(jobs: list[dict[str, Any]], tokens: int = 40) -> None:
    for number, job in enumerate(jobs):
        assert job["state"] == "succeeded", job
        assert job["cost"] == PRICE
        assert job["result"]["choices"][0]["text"] == say_job(number, tokens)


def assert_paid(system: System, caller: Caller, jobs: int, credit: float = 1.0) -> None:
    """The account paid for that many jobs, nothing is held, and the books are proved."""
    balance = caller.get("balance").json()
    assert balance["held"] == 0
    assert round(balance["available"], 6) == round(credit - jobs * PRICE, 6)
    assert "The books are proved." in system.manage("reconcile")


def in_background(work: Callable[[], Any]) -> "Future[Any]":
    threads = ThreadPoolExecutor(1)
    future = threads.submit(work)
    threads.shutdown(wait=False)
    return future


def wait_until_running(caller: Caller, jobs: list[str]) -> None:
    for job in jobs:
        caller.running(job)


def newest_running(caller: Caller) -> str:
    """The id of the job that the caller has just started, once it runs."""
    eventually(lambda: caller.get("jobs", params={"limit": 1}).json()["data"])
    job: str = caller.newest_job()["id"]
    caller.running(job)
    return job
