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
from tests.leftovers import eventually

PROOF = f"{billing.BOOKS} UNION ALL {jobs.BOOKS}"
RUNNING = """
SELECT id::text, model, attempt, pod::text,
       extract(epoch FROM now() - started_at)::float8 AS ran_s
FROM jobs_job WHERE state = 'running'
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
PODS = """
SELECT pod.id::text, deployment.model FROM fleet_pod pod
JOIN fleet_deployment deployment ON deployment.id = pod.deployment_id WHERE pod.phase = 'ready'
"""
# The pods' lease, see modelpilot/settings.py.
LEASE_S = 30.0
SAMPLE_S = 5.0
LOOK_S = 0.5
PATIENCE_S = 30.0
# How long a claim may have been under way.
CLAIM_S = 1.0


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
    """A job whose pod was taken from it at `at`; `free_s` later it waited again, `back_s` later it
    ran again, or it had ended."""

    job: str
    model: str
    attempt: int
    # By its pod's death or standstill; False: by its node's death, which lets it end in peace.
    suddenly: bool
    ran_s: float
    at: float
    free_s: float | None = None
    back_s: float | None = None


@contextmanager
def watching(data: Path) -> Iterator["Watcher"]:
    """A watcher that looks all the time; afterwards every job that lost its pod has run again."""
    watcher = Watcher(data)
    thread = threading.Thread(target=watcher.watch, daemon=True)
    thread.start()
    try:
        yield watcher
        eventually(lambda: all(lost.back_s is not None for lost in watcher.lost.values()), 90)
    finally:
        watcher.ended.set()
        thread.join()


@dataclass
class Watcher:
    """Samples the books, and sees when jobs that lost their pod run again."""

    data: Path
    samples: int = 0
    problems: list[str] = field(default_factory=list)
    lost: dict[tuple[str, int], Lost] = field(default_factory=dict)
    # Pods that a fault has met: what they had claimed is its doing.
    met: set[str] = field(default_factory=set)
    # How many jobs were queued or ran, at each look.
    live: list[int] = field(default_factory=list)
    # From when to when a node stood still, and could start no pod.
    node_frozen: list[tuple[float, float]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Until `ended`. While PostgreSQL is away there is nothing to see."""
        sampled = 0.0
        while not self.ended.wait(LOOK_S):
            with suppress(psycopg.Error):
                self.live.append(rows(self.data, LIVE)[0]["live"])
                self.look_for_the_lost()
                if time.monotonic() - sampled > SAMPLE_S:
                    sampled = time.monotonic()
                    self.sample()

    def sample(self) -> None:
        found = rows(self.data, PROOF)
        self.samples += 1
        self.problems += [str(next(iter(row.values()))) for row in found]

    def look_for_the_lost(self) -> None:
        waiting = [lost for lost in list(self.lost.values()) if lost.back_s is None]
        if not waiting:
            return
        query = "SELECT id::text, attempt, state FROM jobs_job WHERE id = ANY(%s::uuid[])"
        found = {row["id"]: row for row in rows(self.data, query, [each.job for each in waiting])}
        for lost in waiting:
            row = found[lost.job]
            elsewhere = row["attempt"] > lost.attempt and row["state"] == "running"
            over = row["state"] not in ("queued", "running")
            if lost.free_s is None and (elsewhere or over or row["state"] == "queued"):
                lost.free_s = self.since(lost.at)
            if elsewhere or over:
                lost.back_s = self.since(lost.at)

    def since(self, moment: float) -> float:
        """The seconds since then in which no node stood still."""
        now = time.monotonic()
        frozen = [
            max(0.0, min(end, now) - max(start, moment)) for start, end in list(self.node_frozen)
        ]
        return max(0.0, now - moment - sum(frozen))

    @contextmanager
    def taking(self, pods: list[str] | None) -> Iterator[None]:
        """Note whose work is lost by what is done inside: that of these pods, or of all."""
        at = time.monotonic()
        before = self.running(pods)
        self.met.update(pods or ())
        yield
        # Again: a pod may have claimed more in between.
        self.note([*before, *self.running(pods)], at, suddenly=pods is not None)

    def note(self, lost: list[dict[str, Any]], at: float, *, suddenly: bool = False) -> None:
        for row in lost:
            self.lost.setdefault(
                (row["id"], row["attempt"]),
                Lost(row["id"], row["model"], row["attempt"], suddenly, row["ran_s"], at),
            )

    def note_claims(self, at: float) -> None:
        """What was claimed as PostgreSQL died at `at`: its answer may not have reached the pod,
        which then does not know that the job is its own, and lets the lease run out."""
        found = self.running(None)
        claimed = [row for row in found if row["ran_s"] - (time.monotonic() - at) < CLAIM_S]
        self.note(claimed, at)

    def running(self, pods: list[str] | None) -> list[dict[str, Any]]:
        """Raises psycopg.Error where PostgreSQL stays away."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = rows(self.data, RUNNING)
            except psycopg.Error:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return [row for row in found if pods is None or row["pod"] in pods]
