"""Balance, admission, usage and statement with a long history, against the same without any.

`python -m benchmarks.history`: ten million transfers and a million jobs are loaded by COPY into
one of two databases of a throw-away server. Both hold the same account with the same use in the
last thirty days; in the loaded one it also has a year of jobs, among everybody else's. A process
for each database measures in turns, so that a busy machine is as busy for both.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.stack import ROOT, table
from modelpilot import embedded

ACCOUNTS, JOBS, TRANSFERS = 100_000, 1_000_000, 10_000_000
# The measured account's share of the jobs, and its singles.
MINE, MY_SINGLES = 0.1, 12
MODELS = [f"model-{number}" for number in range(5)]
PRICE = 1000
YEAR_DAYS, LAST_DAYS = 365, 30
EMAIL = "history@localhost"
BIGGEST_RATIO = 1.2


# In the worker, with Django on one of the databases.


def measures() -> dict[str, Callable[[], Callable[[], object] | None]]:
    """What is measured; each call may return what puts it right again, which is not timed."""
    import django

    django.setup()
    from billing import ledger, statement
    from modelpilot.accounts.models import User
    from modelpilot.jobs import lease, sql, usage
    from modelpilot.jobs import statement as monthly
    from modelpilot.jobs.ids import new_id
    from modelpilot.jobs.models import Job
    from modelpilot.jobs.submit import Order, submit

    owner = User.objects.get(email=EMAIL).id
    today = usage.today()

    def admission() -> Callable[[], object]:
        job = submit(
            Order(
                id=new_id(),
                owner=owner,
                permission="proxy",
                route="chat/completions",
                request_id="history",
                kind="text",
                model=MODELS[0],
                deployment="dep0",
                request={},
                price=PRICE,
                deadline_s=600,
            )
        )
        return lambda: lease.conclude_if(sql.DROP, job, None, Job.State.CANCELLED, 0)

    def looking(work: Callable[[], object]) -> Callable[[], None]:
        def look() -> None:
            work()

        return look

    return {
        "balance": looking(lambda: ledger.balance(owner)),
        "admission": admission,
        "usage": looking(
            lambda: usage.report(
                owner, today - timedelta(days=LAST_DAYS - 1), today, ["day", "model", "key"]
            )
        ),
        "transfers": looking(lambda: statement.entries(owner, limit=21)),
        "statement": looking(lambda: monthly.of_month(owner, today.replace(day=1))),
    }


def work() -> None:
    """Measure by line: `NAME COUNT` in, the ms of each call out."""
    known = measures()
    print("ready", flush=True)
    for line in sys.stdin:
        name, count = line.split()
        took = []
        for _ in range(int(count)):
            begun = time.perf_counter()
            after = known[name]()
            took.append((time.perf_counter() - begun) * 1000)
            if after is not None:
                after()
        print(json.dumps(took), flush=True)


# In the parent: the server, the history, and who is asked next.


def copied(connection: psycopg.Connection, into: str, rows: Iterator[str]) -> None:
    with connection.cursor().copy(f"COPY {into} FROM STDIN") as copy:
        lines: list[str] = []
        for row in rows:
            lines.append(row)
            if len(lines) == 10_000:
                copy.write("".join(lines))
                lines.clear()
        copy.write("".join(lines))


def load(url: str, accounts: int, jobs: int, transfers: int, *, mine: float, days: int) -> None:
    """Users, jobs, their holds and charges, and as many grants as transfers are missing."""
    dice = random.Random(1)
    now = datetime.now(UTC)
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '1GB'")
        indexes = dropped_indexes(connection)
        ((me,),) = connection.execute("SELECT id FROM accounts_user WHERE email = %s", [EMAIL])
        ((my_account,),) = connection.execute(
            "SELECT id FROM billing_account WHERE owner_id = %s", [me]
        )
        system: dict[str, int] = dict(
            connection.execute("SELECT code, id FROM billing_account WHERE owner_id IS NULL")
        )
        # Ids of the others begin where nobody's are.
        base = 1_000_000
        copied(
            connection,
            "accounts_user (id, password, is_superuser, email, is_active, is_staff, can_deploy)",
            (
                f"{base + number}\t!\tf\tmember{number}@localhost\tt\tf\tf\n"
                for number in range(accounts)
            ),
        )
        copied(
            connection,
            "billing_account (id, owner_id, code)",
            (f"{base + number}\t{base + number}\tuser\n" for number in range(accounts)),
        )
        owners = [
            (me, my_account) if dice.random() < mine else (other, other)
            for other in (base + dice.randrange(accounts) for _ in range(jobs))
        ]
        moments = [now - timedelta(days=days * (1 - number / jobs)) for number in range(jobs)]
        singles = transfers - 2 * jobs

        def moves() -> Iterator[str]:
            revenue, source = system["revenue"], system["bonus_expense"]
            for number, (_, account) in enumerate(owners):
                hold, ref, at = base + 2 * number, job_id(moments[number], number), moments[number]
                moved = f"{account}\t{revenue}\t{PRICE}"
                yield f"{hold}\t{moved}\thold\t{ref}\tpending\t\\N\t{at}\n"
                yield f"{hold + 1}\t{moved}\tcharge\t{ref}\tpost\t{hold}\t{at}\n"
            first = now - timedelta(days=days)
            for number in range(singles):
                account = my_account if number < MY_SINGLES else base + number % accounts
                amount = jobs * PRICE if number < MY_SINGLES else PRICE * 1000
                yield (
                    f"{base + 2 * jobs + number}\t{source}\t{account}\t{amount}\tgrant"
                    f"\thistory:{number}\tsingle\t\\N\t{first}\n"
                )

        copied(
            connection,
            "billing_transfer (id, debit_id, credit_id, amount, code, ref, kind, pending_id, "
            "created_at)",
            moves(),
        )
        copied(
            connection,
            "jobs_job (id, owner_id, permission, route, request_id, kind, model, deployment, "
            "request, stream, watched, state, fair_tag, attempt, deadline_at, created_at, "
            "started_at, finished_at, price, cost, hold_id, result)",
            (
                f"{job_id(at, number)}\t{owner}\tproxy\tchat/completions\thistory\ttext"
                f"\t{MODELS[number % len(MODELS)]}\tdep0\t"
                '{"messages": [{"role": "user", "content": "one of very many"}]}'
                f"\tf\tf\tsucceeded\t0\t1\t{at}\t{at}\t{at}\t{at}\t{PRICE}\t{PRICE}"
                f"\t{base + 2 * number}\t"
                '{"text": "an answer", "usage": {"prompt_tokens": 3, "completion_tokens": 5}}\n'
                for number, ((owner, _), at) in enumerate(zip(owners, moments, strict=True))
            ),
        )
        for definition in indexes:
            connection.execute(definition)
        # What was counted while the same happened: see jobs.sql and billing.ledger.
        connection.execute("DELETE FROM jobs_usage")
        connection.execute(
            "INSERT INTO jobs_usage (owner_id, day, key, model, requests, succeeded, failed, cost, "
            "tokens_in, tokens_out, seconds) "
            "SELECT owner_id, (finished_at AT TIME ZONE 'UTC')::date, NULL, model, count(*), "
            "count(*), 0, sum(cost), 3 * count(*), 5 * count(*), 0 FROM jobs_job "
            "WHERE state = 'succeeded' GROUP BY 1, 2, 4 ORDER BY 2"
        )
        connection.execute(
            "UPDATE billing_account account SET debits_posted = COALESCE(out.amount, 0), "
            "credits_posted = COALESCE(back.amount, 0) "
            "FROM billing_account same "
            "LEFT JOIN (SELECT debit_id, sum(amount) AS amount FROM billing_transfer "
            "WHERE kind IN ('single', 'post') GROUP BY 1) out ON out.debit_id = same.id "
            "LEFT JOIN (SELECT credit_id, sum(amount) AS amount FROM billing_transfer "
            "WHERE kind IN ('single', 'post') GROUP BY 1) back ON back.credit_id = same.id "
            "WHERE account.id = same.id AND account.owner_id IS NOT NULL"
        )
        for name in ("billing_transfer", "accounts_user", "billing_account"):
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}"
            )
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def dropped_indexes(connection: psycopg.Connection) -> list[str]:
    """What makes the indexes again, which were dropped as COPY is faster without; not those that
    back a constraint."""
    found = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid IN ('billing_transfer'::regclass, 'jobs_job'::regclass) "
        "AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)"
    ).fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")
    return [definition for _, definition in found]


def job_id(moment: datetime, number: int) -> uuid.UUID:
    """As jobs.ids makes them, and the same at each call."""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number)


def manage(url: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def worker(url: str, *program: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, *program],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "modelpilot.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        sys.exit("A worker did not start.")
    return process


def told(process: "subprocess.Popen[str]", question: str) -> Any:
    """What a worker answers to a line."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{question}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def compared(empty: str, loaded: str, rounds: int) -> bool:
    """Print the table; whether every ratio is small enough."""
    program = ("-m", "benchmarks.history", "--work")
    workers = {"empty": worker(empty, *program), "loaded": worker(loaded, *program)}
    names = ["balance", "admission", "usage", "transfers", "statement"]
    took: dict[tuple[str, str], list[float]] = {}
    try:
        for place in range(rounds + 2):
            for name in names:
                order = list(workers) if place % 2 else list(workers)[::-1]
                for which in order:
                    found = told(workers[which], f"{name} 20")
                    # The first two warm up connections, plans and caches.
                    if place >= 2:
                        took.setdefault((name, which), []).extend(found)
    finally:
        for process in workers.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)
    rows, good = [], True
    for name in names:
        before, after = (statistics.median(took[name, which]) for which in workers)
        good = good and after / before <= BIGGEST_RATIO
        rows.append([name, f"{before:.2f}", f"{after:.2f}", f"{after / before:.2f}"])
    print(table(["ms, median", "empty", "loaded", "ratio"], rows))
    return good


@contextmanager
def two_databases(accounts: int, jobs: int, transfers: int) -> Iterator[tuple[str, str]]:
    """The addresses of two databases of a throw-away server, empty and loaded.

    In both EMAIL has the same last days; in the loaded one also a year before them, among
    everybody's jobs.
    """
    data = Path(tempfile.mkdtemp(prefix="mp-history-"))
    for name in [name for name in os.environ if name.startswith(("MODELPILOT_", "STRIPE_"))]:
        del os.environ[name]
    os.environ |= {"MODELPILOT_DATA": str(data), "MODELPILOT_LOG_LEVEL": "WARNING"}
    servers = embedded.Servers(data, valkey=True, durable=False)
    try:
        servers.start()
        loaded = embedded.database_url(data)
        empty = loaded.replace("/modelpilot?", "/empty?")
        with psycopg.connect(loaded, autocommit=True) as connection:
            connection.execute("CREATE DATABASE empty")
        for url in (empty, loaded):
            manage(url, "account", EMAIL, "--credit", "1000.00")
        few = LAST_DAYS * len(MODELS)
        load(empty, 1, few, 2 * few + MY_SINGLES, mine=1, days=LAST_DAYS)
        load(loaded, accounts, jobs, transfers, mine=MINE, days=YEAR_DAYS)
        yield empty, loaded
    finally:
        servers.stop()
        shutil.rmtree(data, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Money with a long history.")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--transfers", type=int, default=TRANSFERS)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return
    began = time.perf_counter()
    with two_databases(options.accounts, options.jobs, options.transfers) as (empty, loaded):
        print(
            f"{options.jobs:,} jobs and {options.transfers:,} transfers were loaded after "
            f"{time.perf_counter() - began:.0f} s.",
            flush=True,
        )
        good = compared(empty, loaded, options.rounds)
        proving = time.perf_counter()
        print(manage(loaded, "reconcile").strip())
        print(f"The proof of the loaded books took {time.perf_counter() - proving:.1f} s.")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
