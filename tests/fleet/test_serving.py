"""A fleet with little room, seen from outside: GPUs, copies, pins, and models that must share."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import psutil
import pytest

from tests.api.caller import Caller, error_of
from tests.system import System

T = TypeVar("T")
LATER = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def ids(bob: Caller) -> dict[str, str]:
    return {each["model"]: each["id"] for each in bob.get("deployments").json()["data"]}


@pytest.fixture(autouse=True)
def _as_before(bob: Caller, ids: dict[str, str]) -> Iterator[None]:
    yield
    for model in ("left", "right", "twin"):
        changed(bob, ids[model], pinned=False, replicas=1, idle_seconds=0)
    until(lambda: pods_of_cpu(bob) == [], 30)
    for model in ("left", "right", "twin"):
        changed(bob, ids[model], idle_seconds=None)


def until(found: Callable[[], T], within_s: float) -> T:
    """What `found` returns once that is true."""
    deadline = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        time.sleep(0.1)
    return value


def changed(bob: Caller, deployment: str, **change: Any) -> dict[str, Any]:
    response = bob.send("PATCH", f"deployments/{deployment}", json=change)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def seen(bob: Caller, deployment: str) -> dict[str, Any]:
    body: dict[str, Any] = bob.get(f"deployments/{deployment}").json()
    return body


def devices(bob: Caller) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in bob.get("devices").json()["data"]}


def pods_of_cpu(bob: Caller) -> list[str]:
    pods: list[str] = devices(bob)["cpu"]["pods"]
    return pods


def process_of(fleet: System, pod: str) -> psutil.Process:
    for process in psutil.Process(fleet.pid).children(recursive=True):
        with suppress(psutil.Error):
            if pod in process.cmdline():
                return process
    raise AssertionError(f"pod {pod} has no process")


def queued(caller: Caller, model: str, seconds: float) -> str:
    """A job of the echo's that takes so long."""
    answer = caller.chat("a", model, max_tokens=round(seconds * 10), headers=LATER)
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    return job


def test_a_model_for_a_gpu_gets_one_and_sees_no_other(
    fleet: System, alice: Caller, bob: Caller, ids: dict[str, str]
) -> None:
    assert alice.chat("hello", "on-gpu").status_code == 200
    (pod,) = seen(bob, ids["on-gpu"])["pods"]
    assert (pod["devices"], pod["memory_mb"], pod["phase"]) == (["MIG-bbbb-2"], 30_000, "ready")
    environment = process_of(fleet, pod["id"]).environ()
    assert environment["CUDA_VISIBLE_DEVICES"] == "MIG-bbbb-2"

    found = devices(bob)
    assert {"cpu", "GPU-aaaa", "MIG-bbbb-0", "MIG-bbbb-2", "GPU-dddd"} == found.keys()
    assert found["MIG-bbbb-2"]["pods"] == [pod["id"]]
    assert found["MIG-bbbb-2"]["used_mb"] == 30_000
    # 1,500 MB of it are another program's, beside what is reserved anyway.
    assert (found["GPU-aaaa"]["memory_mb"], found["GPU-aaaa"]["used_mb"]) == (22_000, 0)


def test_a_model_for_the_cpu_sees_no_gpu(
    fleet: System, alice: Caller, bob: Caller, ids: dict[str, str]
) -> None:
    assert alice.chat("hello", "left", max_tokens=1).status_code == 200
    (pod,) = seen(bob, ids["left"])["pods"]
    assert pod["devices"] == ["cpu"]
    assert process_of(fleet, pod["id"]).environ()["CUDA_VISIBLE_DEVICES"] == ""


def test_a_model_may_span_gpus_which_are_its_own_together(
    fleet: System, alice: Caller, bob: Caller, ids: dict[str, str]
) -> None:
    deployment = ids["across"]
    assert seen(bob, deployment)["devices"] == 2
    assert alice.chat("hello", "across", max_tokens=1).status_code == 200
    now = seen(bob, deployment)
    assert (now["devices"], now["engine_reason"]) == (2, "it fits if GPUs share it")
    (pod,) = now["pods"]
    assert (pod["devices"], pod["memory_mb"]) == (["GPU-aaaa", "GPU-dddd"], 20_000)
    environment = process_of(fleet, pod["id"]).environ()
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-aaaa,GPU-dddd"
    found = devices(bob)
    for gpu in ("GPU-aaaa", "GPU-dddd"):
        assert (found[gpu]["pods"], found[gpu]["used_mb"]) == ([pod["id"]], 20_000)

    # The operator may want the other way, of the pods that start from then on.
    chosen = changed(bob, deployment, devices=1, idle_seconds=0)
    assert (chosen["devices"], chosen["engine_reason"]) == (1, "the operator chose it")
    until(lambda: seen(bob, deployment)["pods"] == [], 30)
    changed(bob, deployment, idle_seconds=None)
    assert alice.chat("hello", "across", max_tokens=1).status_code == 200
    (pod,) = seen(bob, deployment)["pods"]
    assert (pod["devices"], pod["memory_mb"]) == (["MIG-bbbb-2"], 39_000)
    assert changed(bob, deployment, devices=None)["devices"] == 2


def test_no_way_on_so_many_devices_is_refused(bob: Caller, ids: dict[str, str]) -> None:
    wish = {"devices": 4}
    change = bob.send("PATCH", f"deployments/{ids['across']}", json=wish)
    body = bob.post("deployments", {"model": "across", **wish})
    for answer in (change, body):
        error = error_of(answer, 422, "invalid_value")
        assert error["param"] == "devices"
        assert error["message"] == "across runs on 1 or 2 devices, not on 4."
    for count in (0, 17, "two"):
        answer = bob.send("PATCH", f"deployments/{ids['across']}", json={"devices": count})
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["param"] == "devices"


def test_what_fits_on_no_device_is_not_deployed(bob: Caller, ids: dict[str, str]) -> None:
    assert "too-wide" not in ids
    error = error_of(bob.post("deployments", {"model": "too-wide"}), 422, "model_not_deployable")
    assert "It needs 3 NVIDIA GPUs of one machine with 20,000 MB on each; 2 are" in error["message"]
    assert "too-big" not in ids
    error = error_of(bob.post("deployments", {"model": "too-big"}), 422, "model_not_deployable")
    assert "It needs 60,000 MB on one GPU" in error["message"]


def test_two_that_do_not_fit_together_are_served_in_turn_as_foretold(
    alice: Caller, bob: Caller, ids: dict[str, str]
) -> None:
    for number in range(4):
        begun = time.monotonic()
        answer = alice.chat("a", ("left", "right")[number % 2], max_tokens=5, headers=LATER).json()
        assert alice.ended(answer["id"])["state"] == "succeeded"
        took, foretold = time.monotonic() - begun, answer["estimated_time_ms"] / 1000
        # A busy machine may need three times as long, but never less than half.
        assert foretold / 2 - 1 < took < 3 * foretold + 1, (number, foretold, took)
    left = seen(bob, ids["left"])
    assert left["load_seconds"] > 0.1
    assert left["run_p50_seconds"] == pytest.approx(0.5, abs=0.4)
    assert left["run_p50_seconds"] <= left["run_p90_seconds"]
    assert (left["phase"], left["pods"], left["queue"]["queued"]) == ("cold", [], 0)
    assert left["estimated_time_ms"] > 500


def test_a_model_that_is_always_busy_makes_way_and_nothing_is_cut_off(
    alice: Caller, bob: Caller, ids: dict[str, str]
) -> None:
    loads = [seen(bob, ids[model])["load_seconds"] for model in ("left", "right")]
    patience = max(10.0, 3 * sum(loads))
    lefts = [queued(alice, "left", 4) for _ in range(40)]
    alice.running(lefts[0])
    right = queued(alice, "right", 0.5)
    begun = time.monotonic()
    # 160 s of work are before it, but only its patience and the run at that moment count.
    assert alice.ended(right, patience + 40)["state"] == "succeeded"
    assert time.monotonic() - begun > 0.9 * patience
    waiting = [job for job in lefts if alice.job(job)["state"] == "queued"]
    assert waiting
    assert {alice.job(job)["attempt"] for job in lefts if job not in waiting} == {1}
    # And back again, without waiting for anybody's patience.
    alice.running(waiting[0])
    for job in waiting:
        alice.post(f"jobs/{job}/cancel")
    states = {alice.ended(job)["state"] for job in lefts}
    assert states <= {"succeeded", "cancelled"}


def test_a_pinned_model_is_loaded_without_work_and_makes_way_for_nobody(
    alice: Caller, bob: Caller, ids: dict[str, str]
) -> None:
    assert changed(bob, ids["left"], pinned=True, idle_seconds=0)["pinned"] is True
    until(lambda: seen(bob, ids["left"])["phase"] == "ready", 20)
    pods = pods_of_cpu(bob)
    job = queued(alice, "right", 0.5)
    time.sleep(3)
    assert alice.job(job)["state"] == "queued"
    assert pods_of_cpu(bob) == pods
    changed(bob, ids["left"], pinned=False)
    assert alice.ended(job)["state"] == "succeeded"


def test_copies_come_with_the_queue_and_go_with_the_setting(
    alice: Caller, bob: Caller, ids: dict[str, str]
) -> None:
    assert changed(bob, ids["twin"], replicas=2)["replicas"] == 2
    jobs = [queued(alice, "twin", 2) for _ in range(10)]
    until(lambda: sum(pod["busy"] for pod in seen(bob, ids["twin"])["pods"]) == 2, 20)
    now = seen(bob, ids["twin"])
    assert [pod["phase"] for pod in now["pods"]] == ["ready", "ready"]
    assert now["queue"]["queued"] > 0
    changed(bob, ids["twin"], replicas=1)
    until(lambda: len(seen(bob, ids["twin"])["pods"]) == 1, 20)
    assert {alice.ended(job, 60)["state"] for job in jobs} == {"succeeded"}
    assert {alice.job(job)["attempt"] for job in jobs} == {1}


def test_the_fleet_is_the_deployers_business(
    alice: Caller, charlie: Caller, ids: dict[str, str]
) -> None:
    for caller in (alice, charlie):
        for path in ("devices", "deployments", f"deployments/{ids['left']}"):
            error_of(caller.get(path), 403, "permission_denied")
        change = caller.send("PATCH", f"deployments/{ids['left']}", json={"pinned": True})
        error_of(change, 403, "permission_denied")


@pytest.mark.parametrize(
    "change",
    [{"replicas": 0}, {"replicas": None}, {"pinned": None}, {"idle_seconds": -1}, {"pined": True}],
)
def test_a_wrong_change_is_refused_by_name(
    bob: Caller, ids: dict[str, str], change: dict[str, Any]
) -> None:
    response = bob.send("PATCH", f"deployments/{ids['left']}", json=change)
    assert response.status_code == 422, response.text
    assert response.json()["error"]["param"] == next(iter(change))


def test_an_unknown_deployment_is_404(bob: Caller) -> None:
    for method in ("GET", "PATCH"):
        response = bob.send(method, "deployments/nothing", json={})
        error_of(response, 404, "deployment_not_found")
