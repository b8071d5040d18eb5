"""What is taken away, one at a time, and the tests that must not like it (see tests.mutations)."""

from dataclasses import dataclass

JOBS, FLEET, BILLING = "modelpilot/jobs/", "modelpilot/fleet/", "billing/"
CLAIMS = "tests/jobs/test_claim.py::"
RESCUES = "tests/jobs/test_rescue.py::"
STALE = f"{RESCUES}test_a_rescuer_that_looked_a_moment_ago_changes_nothing"
BOOKS = "tests/jobs/test_books.py::"
SUBMITS = "tests/jobs/test_submit.py::"
OF_200 = f"{SUBMITS}test_of_200_at_once_with_funds_for_10_exactly_10_are_admitted"
STREAMS = "tests/jobs/test_stream.py::"
PURCHASES = "tests/billing/test_purchases.py::"


@dataclass(frozen=True)
class Edit:
    """`before` stands exactly once in the file."""

    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Mutant:
    """Changes of the source, and a statement that runs after all migrations."""

    name: str
    tests: tuple[str, ...]
    edits: tuple[Edit, ...] = ()
    sql: str = ""


def edited(name: str, tests: str, file: str, before: str, after: str) -> Mutant:
    return Mutant(name, (tests,), (Edit(file, before, after),))


SKIPS_CHECK = Edit(
    f"{BILLING}sql.py",
    "AND NOT frozen AND credits_posted - debits_posted - debits_pending >= %(price)s::bigint",
    "AND NOT frozen AND EXISTS (SELECT FROM billing_account seen WHERE seen.id = billing_account.id"
    " AND credits_posted - debits_posted - debits_pending >= %(price)s::bigint)",
)

MUTANTS = [
    # The fence: every write of a pod names its attempt.
    edited(
        "finish without the fence",
        f"{CLAIMS}test_a_zombie_changes_nothing",
        f"{JOBS}sql.py",
        """FINISH = conclude("state = 'running' AND attempt = %(attempt)s::int")""",
        """FINISH = conclude("state = 'running'")""",
    ),
    edited(
        "a zombie takes another's success for its own",
        f"{CLAIMS}test_a_zombie_changes_nothing",
        f"{JOBS}lease.py",
        "Job.objects.filter(id=claim.id, attempt=claim.attempt, state=state)",
        "Job.objects.filter(id=claim.id, state=state)",
    ),
    edited(
        "renew without the fence",
        f"{CLAIMS}test_a_zombie_changes_nothing",
        f"{JOBS}sql.py",
        "jobs_job.id = mine.id AND jobs_job.attempt = mine.attempt AND state",
        "jobs_job.id = mine.id AND state",
    ),
    edited(
        "requeue without the fence",
        STALE,
        f"{JOBS}sql.py",
        "state = 'running' AND attempt = %(attempt)s::int AND lease_until < now()\nRETURNING",
        "state = 'running' AND lease_until < now()\nRETURNING",
    ),
    edited(
        "give up without the fence",
        STALE,
        f"{JOBS}sql.py",
        """conclude("state = 'running' AND attempt = %(attempt)s::int AND lease_until < now()")""",
        """conclude("state = 'running' AND lease_until < now()")""",
    ),
    edited(
        "begin to send without the fence",
        "tests/jobs/test_begin_sending.py",
        f"{JOBS}lease.py",
        "filter(id=claim.id, attempt=claim.attempt, state=Job.State.RUNNING)",
        "filter(id=claim.id, state=Job.State.RUNNING)",
    ),
    edited(
        "webhooks are recorded without their lease",
        "tests/jobs/test_webhooks.py::test_a_worker_that_was_thought_dead_changes_nothing",
        f"{JOBS}webhooks.py",
        "filter(id=delivery.id, lease_until=lease)",
        "filter(id=delivery.id)",
    ),
    # The lease.
    edited(
        "requeue without looking at the lease",
        STALE,
        f"{JOBS}sql.py",
        "AND attempt = %(attempt)s::int AND lease_until < now()\nRETURNING",
        "AND attempt = %(attempt)s::int\nRETURNING",
    ),
    edited(
        "give up without looking at the lease",
        STALE,
        f"{JOBS}sql.py",
        """AND attempt = %(attempt)s::int AND lease_until < now()")""",
        """AND attempt = %(attempt)s::int")""",
    ),
    edited(
        "begin to send without looking at the lease",
        "tests/jobs/test_begin_sending.py",
        f"{JOBS}lease.py",
        "running.filter(lease_until__gt=Now()).update(",
        "running.update(",
    ),
    edited(
        "a claim does not lock what it takes",
        f"{CLAIMS}test_no_job_is_claimed_twice",
        f"{JOBS}sql.py",
        """    ORDER BY fair_tag, id
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED)""",
        """    ORDER BY fair_tag, id
    LIMIT %(limit)s::bigint)""",
    ),
    edited(
        "a job is tried for ever",
        f"{RESCUES}test_after_three_attempts_it_fails_for_nothing",
        f"{JOBS}rescue.py",
        "elif job.attempt >= settings.MAX_ATTEMPTS or job.stream:",
        "elif job.stream:",
    ),
    edited(
        "a stream is told twice",
        f"{RESCUES}test_a_stream_is_never_started_again",
        f"{JOBS}rescue.py",
        "elif job.attempt >= settings.MAX_ATTEMPTS or job.stream:",
        "elif job.attempt >= settings.MAX_ATTEMPTS:",
    ),
    edited(
        "who has lost a pod is claimed like all others",
        f"{RESCUES}test_what_may_have_killed_pods_runs_in_ever_smaller_company",
        f"{JOBS}sql.py",
        "AND (attempt = 0 OR id IN (SELECT id FROM tried))",
        "",
    ),
    # What the database holds up by itself.
    Mutant(
        "(code, ref) need not be unique",
        (f"{BOOKS}test_nothing_is_booked_twice",),
        sql="DROP INDEX booked_once",
    ),
    Mutant(
        "a hold may be resolved twice",
        (f"{BOOKS}test_a_hold_is_resolved_once",),
        sql="ALTER TABLE billing_transfer DROP CONSTRAINT billing_transfer_pending_id_key",
    ),
    Mutant(
        "an account may have two bonuses",
        (f"{BOOKS}test_an_account_has_one_bonus",),
        sql="DROP INDEX one_bonus_per_account",
    ),
    Mutant(
        "one Idempotency-Key may be two jobs",
        (f"{SUBMITS}test_50_at_once_with_one_idempotency_key_make_one_job",),
        sql="DROP INDEX one_job_per_idempotency_key",
    ),
    Mutant(
        "an account may go below zero",
        (f"{BOOKS}test_the_database_itself_forbids_overspending",),
        sql="ALTER TABLE billing_account DROP CONSTRAINT user_cannot_overspend",
    ),
    Mutant(
        "transfers may be changed",
        (f"{BOOKS}test_transfers_only_ever_append",),
        sql="DROP TRIGGER append_only ON billing_transfer",
    ),
    # Money.
    Mutant(
        "read, then spend",
        (f"{SUBMITS}test_who_waited_for_the_account_sees_what_was_spent_meanwhile", OF_200),
        (SKIPS_CHECK,),
        "ALTER TABLE billing_account DROP CONSTRAINT user_cannot_overspend",
    ),
    edited(
        "submits under a budget don't wait for each other",
        "tests/jobs/test_budgets.py::test_of_200_at_once_with_a_budget_for_10_exactly_10",
        f"{JOBS}submit.py",
        "        ledger.locked(order.owner)\n",
        "",
    ),
    edited(
        "submits of a key don't wait for each other",
        "tests/jobs/test_under_way.py::test_a_submit_waits_for_those_before_it_and_counts_them",
        f"{JOBS}submit.py",
        "    ApiKey.objects.select_for_update(no_key=True).filter(id=key).first()",
        "    ApiKey.objects.filter(id=key).first()",
    ),
    edited(
        "more is charged than was held",
        f"{CLAIMS}test_nothing_is_charged_beyond_the_hold",
        f"{JOBS}sql.py",
        "cost = LEAST(%(charge)s::bigint, price),",
        "cost = %(charge)s::bigint,",
    ),
    edited(
        "a failure costs its price",
        "tests/jobs/test_settlement.py::test_what_fails_costs_nothing",
        f"{FLEET}run.py",
        "self.finish(Job.State.FAILED, charge=0, error=",
        "self.finish(Job.State.FAILED, charge=self.claim.price, error=",
    ),
    edited(
        "an engine that is closed under a job fails it",
        "tests/jobs/test_settlement.py"
        "::test_an_engine_that_breaks_when_it_is_told_to_stop_fails_nobody",
        f"{FLEET}run.py",
        "        if self.stopped is not None:\n            # Told",
        "        if False:\n            # Told",
    ),
    edited(
        "the purchase is not locked while it is credited",
        f"{PURCHASES}test_50_at_once_credit_once",
        f"{BILLING}purchases.py",
        "Purchase.objects.select_for_update().filter(id=named).first()",
        "Purchase.objects.filter(id=named).first()",
    ),
    edited(
        "what Stripe says is not compared with what was asked for",
        f"{PURCHASES}test_what_was_not_asked_for_credits_nothing",
        f"{BILLING}purchases.py",
        "    if payment.amount != purchase.amount:",
        "    if False:",
    ),
    edited(
        "a webhook's signature is not looked at",
        "tests/billing/test_webhook.py::test_a_forgery_is_refused",
        f"{BILLING}events.py",
        "    if not any(signed(body, signature, secret) for",
        "    if not any(True for",
    ),
    edited(
        "a revoked key is accepted",
        "tests/accounts/test_keys.py::test_a_revoked_key_is_refused_at_once",
        "modelpilot/accounts/keys.py",
        "AND owner.is_active AND key.revoked_at IS NULL",
        "AND owner.is_active",
    ),
    # Bells, streams and files.
    edited(
        "no bell",
        "tests/jobs/test_doorbell.py",
        f"{JOBS}doorbell.py",
        "            app.send_task(TASK, queue=queue(model), retry=False)",
        "            pass",
    ),
    edited(
        "nobody rings after a submit",
        "tests/test_bell.py",
        "modelpilot/api/bells.py",
        "    await hop(doorbell.ring, model, pods)",
        "    await hop(len, model)",
    ),
    edited(
        "who comes to a stream in the middle misses what was before",
        f"{STREAMS}test_who_comes_while_others_listen_misses_nothing",
        f"{JOBS}follow.py",
        "            if follower.position >= after",
        "            if True",
    ),
    edited(
        "what Valkey forgot is not sent again",
        f"{STREAMS}test_who_comes_after_valkey_forgot_lacks_nothing",
        f"{JOBS}stream.py",
        "                nomkstream=not anew,\n",
        "",
    ),
    Mutant(
        "a zombie may go on talking",
        (f"{STREAMS}test_a_zombie_is_shut_out",),
        (
            Edit(
                f"{JOBS}stream.py",
                """    append(job, f"{attempt + 1}-0", [RESTART])""",
                """    append(job, "*", [RESTART])""",
            ),
            Edit(f"{JOBS}stream.py", """id=f"{channel.attempt}-{channel.seq}",""", 'id="*",'),
        ),
    ),
    edited(
        "all attempts write their outputs to one place",
        "tests/jobs/test_failpoints.py::test_finishing",
        f"{JOBS}storage.py",
        """default_storage.save(f"{job}/{attempt}/{file.name}\"""",
        """default_storage.save(f"{job}/{file.name}\"""",
    ),
    edited(
        "a commit of unknown outcome is not looked at",
        f"{CLAIMS}test_finishing_twice_charges_once",
        f"{JOBS}lease.py",
        "        return attempt is not None or ended_as(claim, state)",
        "        return attempt is not None",
    ),
]
