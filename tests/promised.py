"""The twenty-one promises, and what proves each (see tests.proof)."""

from dataclasses import dataclass, field

API, BILLING, CHAOS, JOBS = "tests/api/", "tests/billing/", "tests/chaos/", "tests/jobs/"
SECURITY, SIEGE = "tests/security/", "tests/security/siege/"
SUBMITS = f"{JOBS}test_submit.py::"


@dataclass
class Row:
    """`what` is done, and what has to come of it (`passes`).

    Proved by `tests` (folders, files or tests of pytest's, which `record_property("reached", …)`),
    by `figures` of the storms' reports, by the mutants, or by the soak.
    """

    number: int
    what: str
    passes: str
    tests: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    mutants: bool = False
    soak: bool = False
    reached: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def rows() -> list[Row]:
    return [
        Row(
            1,
            "200 jobs in flight; kill -9 of 10 pods, Valkey (3), the web (2), housekeeping (2), "
            "PostgreSQL (3) and the node; SIGSTOP (5); FLUSHALL (2); a full disk; for each seed",
            "0 lost, 0 charged twice, books proved, nothing held, no execution wasted that a fault "
            "did not take, under 180 s",
            figures=(
                "in flight",
                "accepted",
                "lost",
                "charged twice",
                "executed again",
                "executions taken by faults",
                "zombies",
                "held at the end",
                "books proved",
                "took",
            ),
        ),
        Row(
            2,
            "Processes die (SIGKILL) at every boundary of submit, claim, finish, fulfil, and of "
            "rescue, cancel and refund",
            "every boundary, books proved",
            (f"{JOBS}test_failpoints.py", f"{BILLING}test_failpoints.py"),
        ),
        Row(3, "A guard is taken away", "the tests fail, each time", mutants=True),
        Row(
            4,
            "Valkey is killed, forgets everything, is away for 60 s while 50 jobs come",
            "0 lost, back within 10 s, jobs are taken all the time",
            (f"{CHAOS}test_valkey.py",),
            ("queued without Valkey",),
        ),
        Row(
            5,
            "A pod dies, or stands still: its jobs are claimed again",
            "p95 within the lease (30 s) and 10 s",
            (f"{CHAOS}test_killed_pod.py", f"{CHAOS}test_frozen_pod.py"),
            ("given back after",),
        ),
        Row(
            6,
            "A job kills its pod each time",
            "3 attempts at most, failed, $0, the others finish",
            (f"{CHAOS}test_poison.py",),
        ),
        Row(
            7,
            "200 requests at once with funds for 10; and with a budget for 10",
            "exactly 10 admitted, the rest 402",
            (
                f"{SUBMITS}test_of_200_at_once_with_funds_for_10_exactly_10_are_admitted",
                f"{JOBS}test_budgets.py::test_of_200_at_once_with_a_budget_for_10_exactly_10",
                f"{API}test_money.py",
            ),
        ),
        Row(
            8,
            "Histories of the ledger beside a model of it (hypothesis), 2,000 of 50 steps",
            "0 differences",
            (f"{BILLING}test_ledger.py",),
        ),
        Row(
            9,
            "Stripe's events three times each in all orders of up to 5; a tenth lost, reconciled",
            "credits = payments - reversals",
            (f"{BILLING}test_events.py",),
        ),
        Row(
            10,
            "50 fulfil one purchase at once; 20 first purchases at once",
            "1 credit; 1 bonus",
            (
                f"{BILLING}test_purchases.py::test_50_at_once_credit_once",
                f"{BILLING}test_purchases.py::test_20_first_purchases_at_once_earn_one_bonus",
            ),
        ),
        Row(
            11,
            "50 requests at once with one Idempotency-Key",
            "1 job, 1 charge",
            (
                f"{SUBMITS}test_50_at_once_with_one_idempotency_key_make_one_job",
                f"{API}test_idempotency.py",
            ),
        ),
        Row(
            12,
            "A chat of 2,000 tokens is followed over 20 reconnects; Valkey and the web are killed",
            "identical text",
            (f"{CHAOS}test_followed.py",),
        ),
        Row(
            13,
            "The client hangs up at token k",
            "generation stops within 1 s; charged is what was made",
            (f"{API}test_disconnect.py",),
        ),
        Row(
            14,
            "100 readers stop reading their streams",
            "under 50 MB more memory, others unaffected",
            ("tests/test_stalled_readers.py",),
        ),
        Row(
            15,
            "A key is revoked under load, 4 processes",
            "0 accepted after revoke returns",
            (f"{SIEGE}test_revoked_key.py",),
        ),
        Row(
            16,
            "schemathesis with all checks on the whole OpenAPI; NaN, NUL, 1e9, deep nesting, a "
            "body of 1 GB",
            "no 5xx, no disk growth",
            (
                f"{SIEGE}test_schemathesis.py",
                f"{SIEGE}test_odd_addresses.py",
                f"{SIEGE}test_endless_bodies.py",
                f"{SECURITY}test_bodies.py",
            ),
        ),
        Row(
            17,
            "Two accounts, every route, by key, by session and with neither; a session without "
            "its token",
            "all 404, 403 or the door of sign-in",
            (f"{SECURITY}test_matrix.py", f"{SECURITY}test_csrf.py"),
        ),
        Row(
            18,
            "Addresses that lead inside, with a resolver that changes its mind",
            "0 connections to what is not public",
            (f"{JOBS}test_outbound.py", f"{SECURITY}test_customers_addresses.py"),
        ),
        Row(
            19,
            "X-Forwarded-For made up 1,000 times",
            "still limited at 100",
            (f"{API}test_rate_limit.py::test_a_spoofed_address_does_not_help",),
        ),
        Row(
            20,
            "In production without a secret of one's own; weights as pickle, with code, or with a "
            "wrong hash; a chat template that reaches for the machine",
            "it refuses to start or load; the template reaches nothing",
            (
                "tests/test_checks.py",
                "tests/inference/test_weights.py",
                "tests/inference/test_template_sandbox.py",
            ),
        ),
        Row(
            21,
            "A soak: the same storm, over and over",
            "books looked at every 5 s, always proved",
            soak=True,
        ),
    ]
