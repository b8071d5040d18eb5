"""How many jobs a key and an account may have queued and running at once."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import transaction
from pytest_django import Settings

from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User
from modelpilot.errors import ApiError
from modelpilot.jobs import lease
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.models import Job
from modelpilot.jobs.submit import submit
from tests.cast import PRICE, assert_books_prove, at_once, order, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def narrow(alice: User) -> dict[str, int]:
    """A key of alice that may have three jobs under way, as an order names it."""
    keys.create(alice, concurrency=3)
    return {"key": ApiKey.objects.get().id, "concurrency": 3}


def refused(order_of: User, **fields: object) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        submit(order(order_of, **fields))
    error = refusal.value
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert int(error.headers["Retry-After"]) >= 1
    return error


def test_of_40_at_once_exactly_as_many_as_the_key_may(alice: User, narrow: dict[str, int]) -> None:
    outcomes = at_once(40, lambda _: submit(order(alice, **narrow)))

    accepted = [outcome for outcome in outcomes if isinstance(outcome, uuid.UUID)]
    assert len(accepted) == Job.objects.count() == 3
    errors = [outcome for outcome in outcomes if isinstance(outcome, ApiError)]
    assert {error.status for error in errors} == {429}
    assert_books_prove()


def test_a_submit_waits_for_those_before_it_and_counts_them(
    alice: User, narrow: dict[str, int]
) -> None:
    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            for _ in range(3):
                submit(order(alice, **narrow))
            late = threads.submit(at_once, 1, lambda _: submit(order(alice, **narrow)))
            time.sleep(0.3)
            assert not late.done()
        [outcome] = late.result(20)
    assert isinstance(outcome, ApiError)
    assert Job.objects.count() == 3


def test_running_ones_count_and_ended_ones_do_not(alice: User, narrow: dict[str, int]) -> None:
    jobs = [submitted(alice, **narrow) for _ in range(3)]
    claims = lease.claim("echo", pod_id(), 2)
    assert "API key has 3 jobs" in refused(alice, **narrow).message

    lease.finish(claims[0], Job.State.SUCCEEDED, charge=PRICE)
    submit(order(alice, **narrow))
    refused(alice, **narrow)

    cancel(jobs[2].id)
    submit(order(alice, **narrow))
    refused(alice, **narrow)


def test_only_the_keys_own_jobs_count(alice: User, narrow: dict[str, int]) -> None:
    for _ in range(3):
        submit(order(alice, key=narrow["key"] + 1))
        submit(order(alice))

    for _ in range(3):
        submit(order(alice, **narrow))


def test_a_replay_needs_no_room(alice: User, narrow: dict[str, int]) -> None:
    same = {**narrow, "idempotency_key": "once", "body_digest": b"body"}
    first = submit(order(alice, **same))
    submit(order(alice, **narrow))
    submit(order(alice, **narrow))

    assert submit(order(alice, **same)) == first
    assert at_once(20, lambda _: submit(order(alice, **same))) == [first] * 20


def test_an_account_has_a_bound_of_its_own(alice: User, bob: User, settings: Settings) -> None:
    settings.JOBS_PER_ACCOUNT = 4
    jobs = [submitted(alice, key=number) for number in range(4)]

    assert "Your account has 4 jobs" in refused(alice, key=9).message
    assert "Your account has 4 jobs" in refused(alice, price=0).message
    submit(order(bob))

    cancel(jobs[0].id)
    submit(order(alice))
    assert_books_prove()


def test_room_is_asked_for_before_money(charlie: User, settings: Settings) -> None:
    settings.JOBS_PER_ACCOUNT = 1
    submit(order(charlie, price=0))

    refused(charlie)
