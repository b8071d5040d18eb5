"""What the database of a running system says, read from outside of it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from billing import sql as billing
from modelpilot import embedded
from modelpilot.jobs import sql as jobs

PROOF = f"{billing.BOOKS} UNION ALL {jobs.BOOKS}"
RUNNING = """
SELECT id::text, attempt, pod::text, extract(epoch FROM now() - started_at)::float8 AS ran_s
FROM jobs_job WHERE state = 'running' AND model <> 'poison'
"""
LIVE = "SELECT count(*) AS live FROM jobs_job WHERE state IN ('queued', 'running')"
JOBS = """
SELECT job.id::text, person.email, job.idempotency_key AS key, job.model, job.state, job.attempt,
       job.cost, job.error ->> 'code' AS error, job.result #>> '{choices,0,text}' AS text,
       extract(epoch FROM job.started_at - job.created_at)::float8 AS waited_s,
       extract(epoch FROM job.finished_at - job.started_at)::float8 AS ran_s,
       (SELECT count(*) FROM billing_transfer charge
        WHERE charge.pending_id = job.hold_id AND charge.kind = 'post') AS charges,
       (SELECT count(*) FROM jobs_output output WHERE output.job_id = job.id) AS outputs
FROM jobs_job job JOIN accounts_user person ON person.id = job.owner_id
"""
# The pods' lease, see modelpilot/settings.py.
LEASE_S = 30.0
SAMPLE_S = 5.0
LOOK_S = 0.5


@contextmanager
def connected(data: Path) -> Iterator["psycopg.Connection[dict[str, Any]]"]:
    with psycopg.connect(
        embedded.database_url(data), autocommit=True, connect_timeout=3, row_factory=dict_row
    ) as connection:
        yield connection


def rows(data: Path, query: str, *parameters: object) -> list[dict[str, Any]]:
    """Raises psycopg.Error while PostgreSQL is away."""
    with connected(data) as connection:
        return connection.execute(query, parameters or None).fetchall()


@dataclass
class Lost:
    """A job whose pod was taken from it at `at`; `back_s` later it ran again, or had ended."""

    job: str
    attempt: int
    ran_s: float
    at: float
    back_s: float | None = None


@dataclass
class Watcher:
    """Samples the books, and sees when jobs that lost their pod run again."""

    data: Path
    samples: int = 0
    problems: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Until `ended`. While PostgreSQL is away there is nothing to see."""
        sampled = 0.0
        while not self.ended.wait(LOOK_S):
            with suppress(psycopg.Error):
                self.look_for_the_lost()
                if time.monotonic() - sampled > SAMPLE_S:
                    sampled = time.monotonic()
                    self.sample()

    def sample(self) -> None:
        with connected(self.data) as connection:
            found = connection.execute(PROOF).fetchall()
        self.samples += 1
        self.problems += [str(next(iter(row.values()))) for row in found]

    def look_for_the_lost(self) -> None:
        waiting = [lost for lost in self.lost if lost.back_s is None]
        if not waiting:
            return
        query = "SELECT id::text, attempt, state FROM jobs_job WHERE id = ANY(%s::uuid[])"
        found = {row["id"]: row for row in rows(self.data, query, [each.job for each in waiting])}
        for lost in waiting:
            row = found[lost.job]
            over = row["state"] not in ("queued", "running")
            if over or (row["attempt"] > lost.attempt and row["state"] == "running"):
                lost.back_s = time.monotonic() - lost.at

    def takes(self, pods: list[str] | None) -> int:
        """Note whose work is about to be lost: that of these pods, or of all; how many jobs."""
        with suppress(psycopg.Error):
            running = rows(self.data, RUNNING)
            taken = [
                Lost(row["id"], row["attempt"], row["ran_s"], time.monotonic())
                for row in running
                if pods is None or row["pod"] in pods
            ]
            self.lost += taken
            return len(taken)
        return 0
