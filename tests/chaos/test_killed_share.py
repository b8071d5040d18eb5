"""kill -9 of one of the processes that share a model, and of the pod that is the first of them."""

import json
from typing import Any

import psutil
import pytest

from tests.api.caller import Caller
from tests.api.conftest import NewCaller
from tests.chaos.breaking import LATER, assert_paid, pods
from tests.leftovers import eventually, processes
from tests.system import System

MODEL = "tiny-shared"
# Two processes that wait for each other are slow on a busy machine.
PATIENCE_S = 400
# Without the tokens that end it an answer is as long as it may be.
ENDLESS: dict[str, Any] = {"max_tokens": 200, "logit_bias": {"256": -100, "258": -100}}


def shares(system: System) -> list[psutil.Process]:
    """The processes beside the pods that have a share of a model."""
    return [
        process
        for process in processes(system.data)
        if "inference.decoding.rank" in process.cmdline()
    ]


def long_job(caller: Caller) -> str:
    answer = caller.chat("Hello", MODEL, headers=LATER, **ENDLESS)
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    caller.running(job, PATIENCE_S)
    return job


def said(caller: Caller, model: str) -> str:
    answer = caller.chat("Hello there", model, max_tokens=40, temperature=0)
    assert answer.status_code == 200, answer.text
    message: dict[str, str] = answer.json()["choices"][0]["message"]
    return f"{message.get('reasoning_content')}|{message['content']}"


def test_two_processes_say_what_one_says(system: System, newcomer: NewCaller) -> None:
    dora = newcomer()
    assert said(dora, MODEL) == said(dora, "tiny-qwen3")
    assert len(shares(system)) == 1


@pytest.mark.parametrize("first", [False, True])
def test_jobs_run_again_in_a_new_pod_and_are_charged_once(
    first: bool, system: System, newcomer: NewCaller
) -> None:
    dora = newcomer()
    job = long_job(dora)
    (share,) = shares(system)
    (pod,) = [pod for pod in pods(system) if pod.pid == share.ppid()]
    (pod if first else share).kill()
    ended = dora.ended(job, PATIENCE_S)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
    eventually(lambda: not (pod.is_running() or share.is_running()))
    (other,) = shares(system)
    assert other.ppid() != pod.pid
    assert_paid(system, dora, 1)


def test_a_stream_ends_with_an_error_and_costs_nothing(system: System, newcomer: NewCaller) -> None:
    dora = newcomer()
    with dora.stream("Hello", MODEL, **ENDLESS) as lines:
        data = lines.data()
        for _ in range(5):
            next(data)
        (share,) = shares(system)
        share.kill()
        *_, last = data
    assert json.loads(last)["error"]["code"] == "pod_died"
    assert_paid(system, dora, 0)
