"""A job is settled by the price at which it was accepted: for what it was, or had delivered."""

from collections.abc import Callable
from typing import Any

import pytest

from billing import ledger
from billing.money import micros
from inference.errors import InferenceError
from inference.types import Delta, Emit, Progress, Read, Result, Sound
from modelpilot.accounts.models import User
from modelpilot.fleet.run import Run
from modelpilot.jobs import lease, usage, valkey
from modelpilot.jobs.models import Job
from modelpilot.jobs.stream import Publisher
from tests.cast import assert_books_prove, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)

MOST = 10_000
TOKENS = {"input_tokens": 3_000_000, "cached_input_tokens": 1_000_000, "output_tokens": 5_000_000}
SPEECH = {"kind": "audio", "request": {"text": "One. Two. Three."}}
Work = Callable[[Run, Emit], Result]


class Engine:
    """Does as the test says."""

    slots = 1

    def __init__(self, work: Callable[[Emit], Result]) -> None:
        self.work = work

    def generate(self, request: Any, emit: Emit) -> Result:
        return self.work(emit)

    def close(self) -> None:
        pass


def settled(owner: User, work: Work, **fields: Any) -> Job:
    """A job that was run by `work`, as it has ended."""
    job = submitted(owner, price=MOST, **fields)
    (claim,) = lease.claim("echo", pod_id(), 1)
    run = Run(claim, Publisher(valkey.client()))
    run.work(Engine(lambda emit: work(run, emit)))
    job.refresh_from_db()
    assert ledger.balance(owner.id).balance == micros("10") - job.cost
    assert ledger.balance(owner.id).held == 0
    assert_books_prove()
    return job


def answered(prompt: int, cached: int, completion: int) -> Work:
    used = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    choice = {"index": 0, "text": "hello", "finish_reason": "stop"}
    return lambda run, emit: Result({"choices": [choice], "usage": used})


def cancelled_after(*events: Any) -> Work:
    def work(run: Run, emit: Emit) -> Result:
        for event in events:
            emit(event)
        run.stop("cancelled")
        emit(Progress(1.0))
        raise AssertionError("it goes on")

    return work


def test_tokens_are_paid_as_the_engine_counted_them(alice: User) -> None:
    assert settled(alice, answered(100, 40, 7), tariff=TOKENS).cost == 60 * 3 + 40 + 7 * 5


def test_a_flat_price_is_paid_for_each_answer(alice: User) -> None:
    request = {"messages": [{"role": "user", "content": "hello"}], "n": 3}
    assert settled(alice, answered(9, 0, 9), tariff={"request": 500}, request=request).cost == 1500


def test_one_of_before_tariffs_were_kept_costs_what_it_holds(alice: User) -> None:
    assert settled(alice, answered(9, 0, 9), tariff=None).cost == MOST


def test_never_more_than_was_held(alice: User) -> None:
    assert settled(alice, answered(10**6, 0, 10**6), tariff=TOKENS).cost == MOST


def test_what_fails_costs_nothing(alice: User) -> None:
    def work(run: Run, emit: Emit) -> Result:
        emit(Read(100))
        emit(Delta("hello"))
        raise InferenceError("It broke.")

    job = settled(alice, work, tariff=TOKENS)
    assert (job.state, job.cost) == ("failed", 0)


@pytest.mark.parametrize(
    ("reason", "state"), [("draining", "running"), ("lost", "running"), ("cancelled", "cancelled")]
)
@pytest.mark.parametrize("error", [InferenceError("The model was stopped."), ValueError("closed")])
def test_an_engine_that_breaks_when_it_is_told_to_stop_fails_nobody(
    alice: User, reason: str, state: str, error: Exception
) -> None:
    """A pod that must go closes its engine under jobs which another pod will do."""

    def work(run: Run, emit: Emit) -> Result:
        run.stop(reason)
        raise error

    job = submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)
    run = Run(claim, Publisher(valkey.client()))
    run.work(Engine(lambda emit: work(run, emit)))

    job.refresh_from_db()
    assert (job.state, job.cost) == (state, 0)
    assert_books_prove()


def test_a_stopped_answer_pays_for_its_prompt_and_what_was_said(alice: User) -> None:
    work = cancelled_after(Read(100, 40), Delta("a"), Delta("bc", tokens=2), Delta("", tokens=1))
    job = settled(alice, work, tariff=TOKENS)
    assert (job.state, job.cost) == ("cancelled", 60 * 3 + 40 + 4 * 5)
    (row,) = usage.report(alice.id, usage.today(), usage.today(), [])
    assert (row["cost"], row["tokens_in"], row["tokens_out"]) == (job.cost, 100, 4)


def test_one_that_has_only_read_pays_nothing(alice: User) -> None:
    assert settled(alice, cancelled_after(Read(100)), tariff=TOKENS).cost == 0


def test_stopped_speech_pays_for_the_sentences_that_were_spoken(alice: User) -> None:
    spoken = [Sound(b"sound", 24_000, [], 4), Sound(b"sound", 24_000, [], 4)]
    by_text = {**SPEECH, "tariff": {"characters": 1_000_000}}
    assert settled(alice, cancelled_after(*spoken), **by_text).cost == 8000


def test_a_film_pays_by_its_seconds_and_what_is_beyond_the_base(alice: User) -> None:
    request = {"prompt": "a fox", "width": 1000, "height": 1000, "num_frames": 24, "fps": 16}
    film = {"kind": "video", "request": {**request, "steps": 30, "seed": 1}}
    tariff = {
        "video_seconds": 1000, "steps": 10, "base_steps": 20, "megapixels": 200,
        "base_pixels": 500_000,
    }  # fmt: skip
    job = settled(alice, lambda run, emit: Result({}), tariff=tariff, **film)
    assert job.cost == 1500 + 100 + 100
