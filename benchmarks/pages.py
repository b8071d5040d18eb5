"""Pages with a long history, against the same without any: time, statements, bytes.

`python -m benchmarks.pages`: the two databases of `benchmarks.history`, with a million jobs in one
of them, a tenth of which are the reader's own. Each page is made by Django as the web server makes
it, middleware and template included; a process for each database measures in turns.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg

from benchmarks import history
from benchmarks.history import EMAIL
from benchmarks.stack import table

ACCOUNTS, JOBS = 100_000, 1_000_000
PAGES = {
    "overview": "/dashboard/",
    "overview, 90 days": "/dashboard/?days=90",
    "jobs": "/dashboard/jobs/",
    "jobs, failed ones": "/dashboard/jobs/?state=failed",
    "usage": "/dashboard/usage/",
    "keys": "/dashboard/keys/",
    "billing": "/dashboard/billing/",
    "playground": "/dashboard/playground/",
    "admin, front page": "/admin/",
    "admin, jobs": "/admin/jobs/job/",
    "admin, accounts": "/admin/accounts/user/",
    "admin, transfers": "/admin/billing/transfer/",
}
ROUND = 5
PROMISED_MS = 50


# In the worker, with Django on one of the databases.


def counted() -> list[str]:
    """Every statement that is sent from now on, prepared ones too."""
    sent: list[str] = []
    execute: Any = psycopg.Cursor.execute

    def counting(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        if str(query).strip():
            sent.append(str(query))
        return execute(self, query, *args, **kwargs)

    psycopg.Cursor.execute = counting  # type: ignore[method-assign]
    return sent


def reader() -> Callable[[str], bytes]:
    """What fetches a page as the measured account, who is an operator too."""
    import django

    django.setup()
    from django.test import Client

    from modelpilot.accounts.models import User

    user = User.objects.get(email=EMAIL)
    User.objects.filter(id=user.id).update(is_staff=True, is_superuser=True)
    # A name that the product answers to here.
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")

    def read(path: str) -> bytes:
        answer = client.get(path)
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code}")
        return bytes(answer.content)

    return read


def work() -> None:
    """Measure by line: `NAME` in; out the ms of ROUND readings, those of them on a processor of
    ours, statements and bytes."""
    read, sent = reader(), counted()
    print("ready", flush=True)
    for line in sys.stdin:
        path = PAGES[line.strip()]
        took, busy = [], []
        for _ in range(ROUND):
            sent.clear()
            begun, worked = time.perf_counter(), time.process_time()
            content = read(path)
            took.append((time.perf_counter() - begun) * 1000)
            busy.append((time.process_time() - worked) * 1000)
        print(json.dumps([took, busy, len(sent), len(content)]), flush=True)


# In the parent.


def measured(urls: dict[str, str], rounds: int) -> bool:
    """Print the table; whether the dashboard's pages were made within the promised time, in their
    quickest quarter: on a machine with other work the rest says more about that work."""
    workers = {
        name: history.worker(url, "-m", "benchmarks.pages", "--work") for name, url in urls.items()
    }
    took: dict[tuple[str, str], list[float]] = {}
    busy: dict[str, list[float]] = {}
    facts: dict[str, tuple[int, int]] = {}
    try:
        for place in range(rounds + 2):
            for page in PAGES:
                for name in list(workers)[:: 1 if place % 2 else -1]:
                    times, ours, statements, size = history.told(workers[name], page)
                    # The first two warm up connections, plans and templates.
                    if place >= 2:
                        took.setdefault((page, name), []).extend(times)
                        busy.setdefault(page, []).extend(ours)
                    facts[page] = (statements, size)
    finally:
        for process in workers.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)
    rows, good = [], True
    for page in PAGES:
        empty, loaded = (statistics.quantiles(took[page, name], n=4) for name in urls)
        good = good and (loaded[0] < PROMISED_MS or page.startswith("admin"))
        figures = (empty[0], loaded[0], loaded[1], statistics.median(busy[page]))
        rows.append([page, *(f"{figure:.1f}" for figure in figures), *map(str, facts[page])])
    heads = ["ms", "empty p25", "loaded p25", "loaded p50", "of it CPU", "statements", "bytes"]
    print(table(heads, rows))
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description="Pages with a long history.")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return
    began = time.perf_counter()
    # Enough grants for everybody.
    transfers = 2 * (options.jobs + options.accounts)
    with history.two_databases(options.accounts, options.jobs, transfers) as (empty, loaded):
        print(f"{options.jobs:,} jobs were loaded after {time.perf_counter() - began:.0f} s.")
        good = measured({"empty": empty, "loaded": loaded}, options.rounds)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
