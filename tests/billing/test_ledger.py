"""The ledger against a model of itself: any history of money and jobs, and the same balance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from billing import codes, ledger, purchases, reversals
from billing.models import Purchase, Reversal
from modelpilot.errors import ApiError
from modelpilot.jobs import housekeeping, lease, sql
from modelpilot.jobs.lease import Claim
from modelpilot.jobs.models import Job
from modelpilot.jobs.submit import submit
from tests.cast import member, order, pod_id

counter = iter(range(10**9))
CENT = 10_000
amounts = st.integers(1, 50 * CENT)


@dataclass
class Bought:
    """A purchase as the model knows it."""

    row: Purchase
    bonus: int
    bonus_taken: bool = False
    standing: int = field(default=0)


class Books(RuleBasedStateMachine):
    """One account: what it has, holds and owes, as pure numbers beside the real thing."""

    queued: Bundle[Any] = Bundle("queued")
    running: Bundle[Any] = Bundle("running")
    bought: Bundle[Any] = Bundle("bought")
    went_back: Bundle[Any] = Bundle("went_back")
    vouchers: Bundle[Any] = Bundle("vouchers")

    def __init__(self) -> None:
        super().__init__()
        # Each history is rolled back, so the next one is as fast.
        self.history = transaction.atomic()
        self.history.__enter__()
        self.name = f"member{next(counter)}"
        self.owner = member(self.name)
        self.model = self.name
        self.balance = self.held = self.debt = 0
        self.frozen = False
        self.bonus_had = False

    # What the model does

    def comes_in(self, amount: int) -> None:
        self.balance += amount
        self.repay()

    def repay(self) -> None:
        paid = min(self.debt, self.balance - self.held)
        self.balance -= paid
        self.debt -= paid

    def is_taken(self, amount: int) -> None:
        covered = min(amount, self.balance - self.held)
        self.balance -= covered
        self.debt += amount - covered

    # What both do

    @rule(amount=amounts)
    def grant(self, amount: int) -> None:
        ref = f"{self.name}:{next(counter)}"
        ledger.grant(self.owner.id, amount, ref=ref, reason="test")
        self.comes_in(amount)

    @rule(target=bought, cents=st.integers(1, 50))
    def buy(self, cents: int) -> Bought:
        row = Purchase.objects.create(owner=self.owner, amount=cents * CENT)
        purchases.pay_in(row)
        bonus = 0 if self.bonus_had else cents * CENT // 2
        self.bonus_had = True
        self.comes_in(cents * CENT)
        self.comes_in(bonus)
        return Bought(row, bonus)

    @rule(
        target=went_back,
        purchase=bought,
        cents=st.integers(1, 50),
        kind=st.sampled_from(Reversal.Kind),
    )
    def reverse(self, purchase: Bought, cents: int, kind: Reversal.Kind) -> Any:
        amount = min(cents * CENT, purchase.row.amount - purchase.standing)
        if not amount:
            return None
        row = Reversal.objects.create(purchase=purchase.row, kind=kind, amount=amount)
        reversals.take(purchase.row, row)
        if purchase.bonus and not purchase.bonus_taken:
            purchase.bonus_taken = True
            self.is_taken(purchase.bonus)
        self.is_taken(amount)
        purchase.standing += amount
        return purchase, row

    @rule(reversal=consumes(went_back))
    def undo(self, reversal: Any) -> None:
        if reversal is None:
            return
        purchase, row = reversal
        reversals.give_back(purchase.row, row)
        purchase.standing -= row.amount
        self.comes_in(row.amount)
        if purchase.bonus_taken and not purchase.standing:
            purchase.bonus_taken = False
            self.comes_in(purchase.bonus)

    @rule(target=vouchers, amount=amounts)
    def make_code(self, amount: int) -> Any:
        return codes.create(amount), amount

    @rule(code=consumes(vouchers))
    def redeem(self, code: Any) -> None:
        text, amount = code
        assert codes.redeem(self.owner.id, text.lower()) == amount
        with pytest.raises(codes.InvalidCode):
            codes.redeem(self.owner.id, text)
        self.comes_in(amount)

    @rule(again=st.booleans())
    def freeze(self, again: bool) -> None:
        if again:
            ledger.unfreeze(self.owner.id)
        else:
            ledger.freeze(self.owner.id, cause=f"{self.name}:{next(counter)}", reason="test")
        self.frozen = not again

    @rule()
    def collect(self) -> None:
        ledger.collect(self.owner.id)
        self.repay()

    @rule()
    def write_off(self) -> None:
        assert ledger.write_off(self.owner.id, reason="test") == self.debt
        self.debt = 0

    @rule(target=queued, price=st.integers(0, 40 * CENT))
    def submit(self, price: int) -> Any:
        placed = order(self.owner, price=price, model=self.model)
        if price and not self.frozen:
            # What jobs gave back since is repaid before it is held again.
            self.repay()
        if self.frozen or price > self.balance - self.held:
            with pytest.raises(ApiError) as refusal:
                submit(placed)
            assert refusal.value.status == (403 if self.frozen else 402)
            return None
        self.held += price
        return submit(placed), price

    @rule(target=running, job=consumes(queued))
    def claim(self, job: Any) -> Any:
        claims = lease.claim(self.model, pod_id(), 1)
        return claims[0] if claims else None

    @rule(claim=consumes(running), charge=st.integers(0, 60 * CENT))
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
        assert (real.balance, real.held, real.debt, real.frozen) == (
            self.balance,
            self.held,
            self.debt,
            self.frozen,
        )

    def teardown(self) -> None:
        try:
            assert housekeeping.problems() == []
        finally:
            transaction.set_rollback(True)
            self.history.__exit__(None, None, None)


@pytest.mark.django_db(transaction=True)
def test_any_history_keeps_the_books(
    books: None, full: bool, seed: int, record_property: Callable[[str, object], None]
) -> None:
    histories, steps = (2000, 50) if full else (60, 30)
    run_state_machine_as_test(
        seeded(seed)(Books),
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property(
        "reached", f"0 differences in {histories:,} histories of up to {steps} steps, seed {seed}"
    )
