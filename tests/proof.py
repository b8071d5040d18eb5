"""The table of promises: every one with the figure that a run reached. `make proof`.

    python -m tests.proof [--seeds 1,2,3] [--soak MINUTES] [--only 7,11] [--report FILE]

Each row names the tests that prove it, and what they `record_property("reached", …)`; or the
programs that do (tests.chaos, tests.mutations). Exit status 1 if a row is not proved: a test that
failed, was skipped or is gone, or a broken promise.
"""

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHAOS = "tests.chaos"
MUTATIONS = "tests.mutations"
MINUTES = 3.0


@dataclass
class Row:
    """A promise: what is done, and the tests or programs that show that it holds."""

    number: int
    what: str
    # Files or tests of pytest's.
    tests: tuple[str, ...] = ()
    # Of the storms' report: the names of the figures that belong here.
    figures: tuple[str, ...] = ()
    mutations: bool = False
    soak: bool = False
    reached: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def table() -> list[Row]:
    billing, api, jobs = "tests/billing/", "tests/api/", "tests/jobs/"
    return [
        Row(
            1,
            "200 jobs in flight, everything is killed, frozen, emptied or filled",
            figures=("faults", "accepted", "lost", "charged twice", "executed again",
                     "taken by faults", "held at the end", "books proved", "took"),
        ),
        Row(
            2,
            "death at every statement boundary of submit, claim, finish, fulfil",
            (f"{jobs}test_failpoints.py", f"{billing}test_failpoints.py"),
        ),
        Row(3, "a guard is taken away: the tests must fail", mutations=True),
        Row(
            4,
            "Valkey forgets everything; is away while 50 are queued",
            ("tests/chaos/test_valkey.py",),
            ("queued without Valkey",),
        ),
        Row(
            5,
            "a pod dies: its jobs are claimed again",
            ("tests/chaos/test_killed_pod.py", "tests/chaos/test_frozen_pod.py"),
            ("runs again after", "wasted seconds"),
        ),
        Row(6, "a job kills its pod each time", ("tests/chaos/test_poison.py",)),
        Row(
            7,
            "200 at once with funds for 10",
            (f"{jobs}test_submit.py::test_of_200_at_once_with_funds_for_10_exactly_10_are_admitted",
             f"{jobs}test_budgets.py::test_of_200_at_once_with_a_budget_for_10_exactly_10"),
        ),
        Row(
            8,
            "any history of the ledger, beside a model of it",
            (f"{billing}test_ledger.py::test_any_history_keeps_the_books",),
        ),
        Row(
            9,
            "Stripe's events in every order, each three times; a tenth lost",
            (f"{billing}test_events.py",),
        ),
        Row(
            10,
            "50 fulfil one purchase; 20 first purchases at once",
            (f"{billing}test_purchases.py::test_50_at_once_credit_once",
             f"{billing}test_purchases.py::test_20_first_purchases_at_once_earn_one_bonus"),
        ),
        Row(
            11,
            "50 requests at once with one Idempotency-Key",
            (f"{jobs}test_submit.py::test_50_at_once_with_one_idempotency_key_make_one_job",
             f"{api}test_idempotency.py"),
        ),
        Row(
            12,
            "a long answer followed over many reconnects, Valkey and the web killed meanwhile",
            (f"{api}test_events.py", "tests/chaos/test_valkey.py",
             "tests/chaos/test_killed_parts.py"),
            ("followed to the end",),
        ),
        Row(13, "the client leaves in the middle", (f"{api}test_disconnect.py",)),
    ]  # fmt: skip
