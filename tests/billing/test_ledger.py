"""The ledger against a model of itself: any history of jobs, and the same balance."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from billing import ledger
from modelpilot.errors import ApiError
from modelpilot.jobs import housekeeping, lease, sql
from modelpilot.jobs.lease import Claim
from modelpilot.jobs.models import Job
from modelpilot.jobs.submit import submit
from tests.cast import member, order, pod_id

counter = iter(range(10**9))


class Books(RuleBasedStateMachine):
    """One account: granted, held, charged and released, as pure numbers beside the real thing."""

    queued: Bundle[Any] = Bundle("queued")
    running: Bundle[Any] = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.name = f"member{next(counter)}"
        self.owner = member(self.name)
        self.model = self.name
        self.balance = 0
        self.held = 0

    @rule(amount=st.integers(1, 50))
    def grant(self, amount: int) -> None:
        ref = f"{self.name}:{next(counter)}"
        ledger.grant(self.owner.id, amount, ref=ref, reason="test")
        self.balance += amount

    @rule(target=queued, price=st.integers(0, 40))
    def submit(self, price: int) -> Any:
        placed = order(self.owner, price=price, model=self.model)
        if price > self.balance - self.held:
            with pytest.raises(ApiError):
                submit(placed)
            return None
        self.held += price
        return submit(placed), price

    @rule(target=running, job=consumes(queued))
    def claim(self, job: Any) -> Any:
        claims = lease.claim(self.model, pod_id(), 1)
        return claims[0] if claims else None

    @rule(claim=consumes(running), charge=st.integers(0, 60))
    def finish(self, claim: Claim | None, charge: int) -> None:
        if claim is None:
            return
        state = Job.State.SUCCEEDED if charge else Job.State.FAILED
        if lease.finish(claim, state, charge=charge):
            self.held -= claim.price
            self.balance -= min(charge, claim.price)

    @rule(job=consumes(queued))
    def drop(self, job: Any) -> None:
        if job is None:
            return
        job_id, price = job
        state = Job.State.CANCELLED
        if lease.conclude_if(sql.DROP, job_id, None, state, 0) is not None:
            self.held -= price

    @invariant()
    def balances_agree(self) -> None:
        real = ledger.balance(self.owner.id)
        assert (real.balance, real.held) == (self.balance, self.held)

    def teardown(self) -> None:
        assert housekeeping.problems() == []


@pytest.mark.django_db
def test_any_history_keeps_the_books() -> None:
    # The issue on money runs 2,000; these are what a minute of every test run allows.
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
