"""Budgets: what keys and accounts may spend a day and a month, exact whoever comes at once."""

import random
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run

from billing import ledger
from billing.models import Transfer
from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User
from modelpilot.errors import ApiError
from modelpilot.jobs import budgets, housekeeping, lease
from modelpilot.jobs.budgets import Cap
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.models import Budget, Job
from modelpilot.jobs.submit import submit
from tests.cast import PRICE, assert_books_prove, at_once, member, order, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key(alice: User) -> int:
    keys.create(alice)
    return ApiKey.objects.get().id


def refused(owner: User, **fields: Any) -> dict[str, Any]:
    """The `budget` of the refusal."""
    before = Job.objects.count(), Transfer.objects.count(), list(Budget.objects.values())
    with pytest.raises(ApiError) as refusal:
        submit(order(owner, **fields))
    error = refusal.value
    assert (error.status, error.code) == (402, "budget_exceeded"), error.message
    after = Job.objects.count(), Transfer.objects.count(), list(Budget.objects.values())
    assert after == before
    budget: dict[str, Any] = error.detail["budget"]
    return budget


def spent(owner: User) -> list[int]:
    return [budget.spent for budget in budgets.of_account(owner.id)]


def finished(charge: int, model: str = "echo") -> None:
    (claim,) = lease.claim(model, pod_id(), 1)
    state = Job.State.SUCCEEDED if charge else Job.State.FAILED
    assert lease.finish(claim, state, charge=charge)


@pytest.mark.parametrize("by_key", [False, True], ids=["account", "key"])
def test_of_200_at_once_with_a_budget_for_10_exactly_10(
    alice: User, key: int, by_key: bool, record_property: Callable[[str, object], None]
) -> None:
    budgets.put(alice.id, "day", Cap(10 * PRICE), key=key if by_key else None)

    outcomes = at_once(200, lambda _: submit(order(alice, key=key)))

    assert sum(isinstance(each, uuid.UUID) for each in outcomes) == Job.objects.count() == 10
    errors = [each for each in outcomes if isinstance(each, ApiError)]
    assert [error.code for error in errors] == ["budget_exceeded"] * 190
    assert ledger.balance(alice.id).held == 10 * PRICE
    assert spent(alice) == [10 * PRICE]
    assert_books_prove()
    whose = "a key" if by_key else "an account"
    record_property(
        "reached",
        f"by a budget of {whose} {Job.objects.count()} admitted, {len(errors)} refused",
    )


def test_a_refusal_names_the_budget(alice: User, key: int) -> None:
    budgets.put(alice.id, "month", Cap(PRICE), key=key)
    submit(order(alice, key=key))

    budget = refused(alice, key=key)

    assert (budget["key"], budget["period"]) == (key, "month")
    assert (budget["cap"], budget["spent"], budget["remaining"]) == (0.01, 0.01, 0)
    with pytest.raises(ApiError, match=r"monthly budget of this API key is \$0.01, and \$0.01"):
        submit(order(alice, key=key))
    submit(order(alice))  # another key's, or a browser's
    submit(order(alice, key=key, price=0))
    assert_books_prove()


def test_the_smallest_budget_holds(alice: User, key: int) -> None:
    budgets.put(alice.id, "day", Cap(3 * PRICE))
    budgets.put(alice.id, "month", Cap(5 * PRICE))
    budgets.put(alice.id, "day", Cap(2 * PRICE), key=key)
    submit(order(alice, key=key))
    submit(order(alice, key=key))
    assert refused(alice, key=key)["key"] == key
    submit(order(alice))
    assert refused(alice)["period"] == "day"

    # The next day the month still counts.
    Budget.objects.filter(period="day").update(start=yesterday())
    Job.objects.update(created_at=a_day_ago())
    Budget.objects.filter(period="month").update(start=month_of(a_day_ago()))
    if month_of(a_day_ago()) == budgets.first_day("month", today()):
        for _ in range(2):
            submit(order(alice))
        assert refused(alice)["period"] == "month"
    assert_books_prove()


def today() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT (now() AT TIME ZONE 'UTC')::date")
        return cursor.fetchone()[0]


def yesterday() -> Any:
    return today() - timedelta(days=1)


def a_day_ago() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - interval '1 day'")
        return cursor.fetchone()[0]


def month_of(moment: Any) -> Any:
    return moment.date().replace(day=1)


def test_what_a_job_did_not_need_comes_back(alice: User) -> None:
    budgets.put(alice.id, "day", Cap(2 * PRICE))
    first, _ = submitted(alice), submitted(alice)
    refused(alice)

    finished(PRICE // 4)
    assert spent(alice) == [PRICE + PRICE // 4]
    refused(alice)
    submit(order(alice, price=3 * PRICE // 4))
    assert_books_prove()

    assert first.hold is not None
    finished(0)
    cancel(Job.objects.get(state="queued").id)
    assert spent(alice) == [PRICE // 4]
    assert_books_prove()


def test_a_new_day_begins_with_nothing(alice: User) -> None:
    budgets.put(alice.id, "day", Cap(PRICE))
    late = submitted(alice)
    refused(alice)
    # It was accepted just before midnight.
    Budget.objects.update(start=yesterday())
    Job.objects.update(created_at=a_day_ago())
    assert spent(alice) == [0]
    assert_books_prove()

    submit(order(alice, model="tomorrow"))
    refused(alice)

    # What it gives back is of the day before, which is over.
    finished(PRICE // 2, late.model)
    assert spent(alice) == [PRICE]
    refused(alice)
    finished(PRICE // 2, "tomorrow")
    assert spent(alice) == [PRICE // 2]
    assert_books_prove()


def test_what_comes_back_before_a_new_day_is_of_the_old(alice: User) -> None:
    budgets.put(alice.id, "day", Cap(PRICE))
    submitted(alice)
    Budget.objects.update(start=yesterday())
    Job.objects.update(created_at=a_day_ago())

    finished(PRICE // 2)

    assert Budget.objects.get().spent == PRICE // 2
    assert_books_prove()


def test_one_that_is_set_later_knows_what_was_spent(alice: User, key: int) -> None:
    for _ in range(3):
        submitted(alice, key=key)
    finished(PRICE // 2)
    submitted(alice)

    budgets.put(alice.id, "day", Cap(10 * PRICE))
    budgets.put(alice.id, "month", Cap(3 * PRICE), key=key)

    assert spent(alice) == [4 * PRICE - PRICE // 2, 3 * PRICE - PRICE // 2]
    assert_books_prove()
    refused(alice, key=key)
    submit(order(alice, key=key, price=PRICE // 2))
    assert_books_prove()
    # What was under way before does not give back to it: see budgets.put.
    finished(PRICE // 4)
    assert spent(alice) == [4 * PRICE, 3 * PRICE]
    assert_books_prove()


def test_one_that_is_set_while_jobs_end_and_begin(alice: User, key: int) -> None:
    for _ in range(20):
        submit(order(alice, key=key))

    def do(place: int) -> None:
        match place % 3:
            case 0:
                budgets.put(alice.id, "day", None if place % 2 else Cap(10**9))
            case 1:
                end_some(PRICE // 3)
            case 2:
                submit(order(alice, key=key))

    assert at_once(90, do) == [None] * 90
    budgets.put(alice.id, "day", Cap(10**9))
    while lease_some():
        pass
    assert_books_prove()


def lease_some() -> bool:
    """Whether there was something left to end."""
    end_some(PRICE // 3)
    return Job.objects.filter(state="queued").exists()


def test_it_is_changed_and_ended(alice: User) -> None:
    budgets.put(alice.id, "day", Cap(PRICE))
    submit(order(alice))
    budgets.put(alice.id, "day", Cap(2 * PRICE))
    submit(order(alice))
    budgets.put(alice.id, "day", Cap(PRICE))  # less than is spent
    assert refused(alice)["remaining"] == 0

    budgets.put(alice.id, "day", None)

    submit(order(alice))
    assert not Budget.objects.exists()
    assert ledger.balance(alice.id).budgeted is False
    assert_books_prove()


def test_a_replay_needs_no_budget(alice: User) -> None:
    budgets.put(alice.id, "day", Cap(PRICE))
    same = {"idempotency_key": "once", "body_digest": b"body"}
    first = submit(order(alice, **same))

    assert submit(order(alice, **same)) == first
    assert set(at_once(20, lambda _: submit(order(alice, **same)))) == {first}
    assert_books_prove()


def test_money_and_freezes_are_told_first(charlie: User) -> None:
    budgets.put(charlie.id, "day", Cap(PRICE // 2))
    with pytest.raises(ApiError, match="of your credit is available"):
        submit(order(charlie))
    ledger.grant(charlie.id, PRICE, ref="some", reason="test")
    refused(charlie)
    ledger.freeze(charlie.id, cause="test", reason="test")
    with pytest.raises(ApiError, match="frozen"):
        submit(order(charlie))


def test_a_key_with_a_concurrency_too(alice: User, key: int) -> None:
    budgets.put(alice.id, "day", Cap(4 * PRICE), key=key)

    outcomes = at_once(40, lambda _: submit(order(alice, key=key, concurrency=3)))

    assert sum(isinstance(each, uuid.UUID) for each in outcomes) == 3
    assert {each.status for each in outcomes if isinstance(each, ApiError)} == {429}
    finished(PRICE)
    submit(order(alice, key=key, concurrency=3))
    finished(PRICE)
    assert refused(alice, key=key, concurrency=3)["key"] == key
    assert_books_prove()


def test_another_accounts_budget_is_its_own(alice: User, bob: User, key: int) -> None:
    budgets.put(alice.id, "day", Cap(0))
    budgets.put(alice.id, "day", Cap(0), key=key)

    submit(order(bob))

    assert budgets.of_account(bob.id) == []
    refused(alice)


def test_everything_at_once_neither_deadlocks_nor_loses(
    alice: User, bob: User, key: int, seed: int
) -> None:
    """Submits, ends, cancels and changed budgets of two accounts."""
    dice = random.Random(seed)
    places = [(alice, key), (alice, None), (bob, None)]
    for owner, under in places:
        budgets.put(owner.id, "day", Cap(40 * PRICE), key=under)
        budgets.put(owner.id, "month", Cap(60 * PRICE), key=under)
    jobs = [
        order(owner, key=under, price=dice.randrange(2 * PRICE))
        for owner, under in dice.choices(places, k=400)
    ]

    def do(place: int) -> object:
        job, part = jobs[place], dice.randrange(2 * PRICE)
        match dice.choices(("submit", "end", "cancel", "put"), (6, 4, 1, 1))[0]:
            case "submit":
                return submit(job)
            case "end":
                end_some(part)
            case "cancel":
                cancel(jobs[place - 1].id)
            case "put":
                cap = None if part % 3 else Cap(dice.randrange(20, 60) * PRICE)
                budgets.put(job.owner, "day", cap, key=job.key)
        return None

    outcomes = at_once(len(jobs), do)

    wrong = [each for each in outcomes if isinstance(each, Exception)]
    assert {type(each) for each in wrong} <= {ApiError}
    assert {each.code for each in wrong if isinstance(each, ApiError)} <= {"budget_exceeded"}
    assert sum(isinstance(each, uuid.UUID) for each in outcomes) > 20
    assert_books_prove()


def end_some(charge: int) -> None:
    for claim in lease.claim("echo", pod_id(), 2):
        lease.finish(claim, Job.State.SUCCEEDED if charge else Job.State.FAILED, charge=charge)


counter = iter(range(10**9))


class Spending(RuleBasedStateMachine):
    """An account with a daily budget, and a key of it with a monthly one, as pure numbers."""

    queued: Bundle[Any] = Bundle("queued")

    def __init__(self) -> None:
        super().__init__()
        # Each history is rolled back, so the next one is as fast.
        self.history = transaction.atomic()
        self.history.__enter__()
        self.name = f"spender{next(counter)}"
        self.owner = member(self.name, "1000")
        keys.create(self.owner)
        self.key = ApiKey.objects.get(user=self.owner).id
        self.caps: dict[int | None, int | None] = {None: None, self.key: None}
        self.sums: dict[int | None, int] = {None: 0, self.key: 0}
        # Of which a budget counts what they hold, and gives back what they did not need.
        self.counted: dict[uuid.UUID, set[int | None]] = {}

    @rule(under_key=st.booleans(), cap=st.none() | st.integers(0, 5 * PRICE))
    def put(self, under_key: bool, cap: int | None) -> None:
        which = self.key if under_key else None
        period: budgets.Period = "month" if under_key else "day"
        budgets.put(self.owner.id, period, None if cap is None else Cap(cap), key=which)
        if cap is None:
            for counting in self.counted.values():
                counting.discard(which)
        elif self.caps[which] is None:
            jobs = Job.objects.filter(owner=self.owner)
            if which:
                jobs = jobs.filter(key=which)
            live = ("queued", "running")
            self.sums[which] = sum(job.price if job.state in live else job.cost for job in jobs)
        self.caps[which] = cap

    @rule(target=queued, price=st.integers(1, 2 * PRICE), under_key=st.booleans())
    def submit(self, price: int, under_key: bool) -> Any:
        asked = [None, self.key] if under_key else [None]
        asked = [which for which in asked if self.caps[which] is not None]
        placed = order(
            self.owner, price=price, key=self.key if under_key else None, model=self.name
        )
        if any(self.sums[which] + price > (self.caps[which] or 0) for which in asked):
            with pytest.raises(ApiError) as refusal:
                submit(placed)
            assert refusal.value.code == "budget_exceeded"
            return None
        for which in asked:
            self.sums[which] += price
        self.counted[placed.id] = set(asked)
        return submit(placed)

    @rule(job=consumes(queued), charge=st.integers(0, 3 * PRICE))
    def finish(self, job: uuid.UUID | None, charge: int) -> None:
        for claim in lease.claim(self.name, pod_id(), 1):
            assert lease.finish(
                claim, Job.State.SUCCEEDED if charge else Job.State.FAILED, charge=charge
            )
            for which in self.counted.pop(claim.id):
                self.sums[which] -= claim.price - min(charge, claim.price)

    @invariant()
    def budgets_agree(self) -> None:
        for budget in budgets.of_account(self.owner.id):
            assert budget.spent == self.sums[budget.key]
            assert budget.cap == self.caps[budget.key]

    def teardown(self) -> None:
        try:
            assert housekeeping.problems() == []
        finally:
            transaction.set_rollback(True)
            self.history.__exit__(None, None, None)


def test_spent_is_always_charges_and_holds(books: None, full: bool, seed: int) -> None:
    histories, steps = (500, 50) if full else (25, 30)
    run(
        seeded(seed)(Spending),
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
