"""Usage: counted by the statement that ends a job, so it always is what the ledger says."""

import time
from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User
from modelpilot.jobs import lease, usage
from modelpilot.jobs.cancel import CANCELLED, cancel
from modelpilot.jobs.models import Job, Usage
from tests.cast import PRICE, assert_books_prove, at_once, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)

TOKENS = {"usage": {"prompt_tokens": 3, "completion_tokens": 5}}
EVERY_COUNT = ("requests", "succeeded", "failed", "cost", "tokens_in", "tokens_out")


def ended(owner: User, state: Job.State, charge: int = 0, **fields: object) -> None:
    """A job that a pod has ended so."""
    job = submitted(owner, **fields)
    (claim,) = lease.claim(job.model, pod_id(), 1)
    error = None if state == Job.State.SUCCEEDED else CANCELLED
    lease.finish(claim, state, charge=charge, result=TOKENS if charge else None, error=error)


def used(owner: User, *groups: usage.Group) -> list[dict[str, object]]:
    return usage.report(owner.id, usage.today(), usage.today(), groups)


def test_every_end_is_counted_once(alice: User) -> None:
    ended(alice, Job.State.SUCCEEDED, PRICE)
    ended(alice, Job.State.SUCCEEDED, PRICE // 2)
    ended(alice, Job.State.FAILED)
    ended(alice, Job.State.CANCELLED, PRICE)
    cancel(submitted(alice).id)
    submitted(alice)  # still waits

    (row,) = used(alice, "day")
    seconds = row.pop("seconds")
    assert isinstance(seconds, float)
    assert 0 < seconds < 5
    assert row == {
        "day": usage.today(),
        "requests": 5,
        "succeeded": 2,
        "failed": 1,
        "cost": 2 * PRICE + PRICE // 2,
        "tokens_in": 9,
        "tokens_out": 15,
    }
    assert_books_prove()


def test_an_end_that_did_not_happen_is_not_counted(alice: User) -> None:
    submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE)

    assert lease.finish(claim, Job.State.FAILED, charge=0) is False

    (row,) = used(alice, "day")
    assert (row["requests"], row["succeeded"], row["cost"]) == (1, 1, PRICE)


def test_it_is_told_by_day_model_and_key(alice: User) -> None:
    keys.create(alice, name="first")
    keys.create(alice, name="second")
    first, second = ApiKey.objects.order_by("id").values_list("id", flat=True)
    for key, model in ((first, "echo"), (first, "echo"), (first, "kokoro"), (second, "echo")):
        ended(alice, Job.State.SUCCEEDED, PRICE, key=key, model=model)
    ended(alice, Job.State.SUCCEEDED, PRICE)
    Usage.objects.filter(key=second).update(day=usage.today() - timedelta(days=1))

    def counts(*groups: usage.Group) -> list[tuple[object, ...]]:
        rows = usage.report(alice.id, usage.today() - timedelta(days=1), usage.today(), groups)
        return [(*(row[group] for group in groups), row["requests"]) for row in rows]

    yesterday, today = usage.today() - timedelta(days=1), usage.today()
    assert counts("day") == [(yesterday, 1), (today, 4)]
    assert counts("model") == [("echo", 4), ("kokoro", 1)]
    assert counts("key") == [(first, 3), (second, 1), (None, 1)]
    assert counts("key", "model") == [
        (first, "echo", 2),
        (first, "kokoro", 1),
        (second, "echo", 1),
        (None, "echo", 1),
    ]
    assert [row["key_name"] for row in used(alice, "key")] == ["first", None]
    assert usage.spend(alice.id, first) == (3 * PRICE, 3 * PRICE)


def test_another_account_sees_nothing_of_it(alice: User, charlie: User) -> None:
    keys.create(alice)
    key = ApiKey.objects.get()
    ended(alice, Job.State.SUCCEEDED, PRICE, key=key.id)

    assert used(charlie, "day", "model", "key") == []
    assert usage.spend(charlie.id, key.id) == (0, 0)


def test_many_that_end_at_once_neither_deadlock_nor_lose_count(alice: User, bob: User) -> None:
    for number in range(60):
        submitted(alice, key=number % 2, price=PRICE if number % 3 else 0)
        submitted(bob, key=7)
    claims = lease.claim("echo", pod_id(), 200)

    def end(number: int) -> bool:
        if number >= len(claims):
            return bool(submitted(alice, key=1))
        state = Job.State.SUCCEEDED if number % 4 else Job.State.FAILED
        return lease.finish(claims[number], state, charge=PRICE if number % 4 else 0)

    assert at_once(150, end) == [True] * 150

    assert sum(row["requests"] for row in used(alice, "key")) == 60  # type: ignore[misc]
    assert [row["requests"] for row in used(bob, "key")] == [60]
    assert_books_prove()


def test_the_past_is_counted_as_the_present_is(alice: User) -> None:
    ended(alice, Job.State.SUCCEEDED, PRICE)
    ended(alice, Job.State.FAILED)
    cancel(submitted(alice).id)
    submitted(alice)
    before = Usage.objects.values(*EVERY_COUNT, "owner", "day", "model", "key").get()
    Usage.objects.all().delete()

    migration = import_module("modelpilot.jobs.migrations.0004_usage")
    with connection.cursor() as cursor:
        cursor.execute(migration.COUNT_THE_PAST)

    assert Usage.objects.values(*EVERY_COUNT, "owner", "day", "model", "key").get() == before
    assert_books_prove()


def test_a_busy_year_is_told_at_once_and_without_its_jobs(alice: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO jobs_usage (owner_id, day, key, model, requests, succeeded, failed, cost,
                                    tokens_in, tokens_out, seconds)
            SELECT %s, current_date - day, key, 'model-' || model, 100, 98, 1, 98000, 5, 5, 1
            FROM generate_series(0, 365) day, generate_series(1, 10) key,
                 generate_series(1, 10) model
            """,
            [alice.id],
        )
        cursor.execute("ANALYZE jobs_usage")

    def told() -> tuple[float, int]:
        started = time.perf_counter()
        rows = usage.report(
            alice.id, usage.today() - timedelta(days=366), usage.today(), ["day", "model"]
        )
        return time.perf_counter() - started, len(rows)

    with CaptureQueriesContext(connection) as queries:
        assert told()[1] == 3660
    assert not [query for query in queries.captured_queries if "jobs_job" in query["sql"]]
    assert min(told()[0] for _ in range(5)) < 0.1
