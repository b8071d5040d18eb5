"""An account's jobs, newest first and a page at a time, whatever is chosen among them.

No page reads more than SEEN jobs, so that a choice which fits few of millions costs no more than
one that fits all: such a page ends early, and says where the next one goes on.
"""

import uuid
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection
from django.db.models import CharField, QuerySet
from django.db.models.expressions import RawSQL

from modelpilot.jobs.ids import parse
from modelpilot.jobs.models import Job

PAGE = 20
SEEN = 20_000
NEWEST = uuid.UUID(int=2**128 - 1)
# A session's jobs have no key, and keys' ids begin at 1.
SESSION = 0

# Read from the index `jobs_by_owner` alone, which holds what can be chosen by.
CHOSEN = """
SELECT id FROM (
    SELECT id, kind, model, state, key FROM jobs_job
    WHERE owner_id = %(owner)s::bigint AND id < %(before)s::uuid
    ORDER BY id DESC
    LIMIT %(seen)s::bigint) seen
WHERE (%(kind)s::text IS NULL OR kind = %(kind)s::text)
  AND (%(model)s::text IS NULL OR model = %(model)s::text)
  AND (%(state)s::text IS NULL OR state = %(state)s::text)
  AND (%(key)s::bigint IS NULL OR COALESCE(key, 0) = %(key)s::bigint)
ORDER BY id DESC
LIMIT %(limit)s::bigint
"""
LAST_SEEN = """
SELECT id FROM jobs_job
WHERE owner_id = %(owner)s::bigint AND id < %(before)s::uuid
ORDER BY id DESC OFFSET %(seen)s::bigint - 1 LIMIT 1
"""

# What was asked, in a line. A request that brings a file along is not unpacked for it.
EXCERPT = """
CASE WHEN pg_column_size(jobs_job.request) < 100000 THEN left(COALESCE(
    jobs_job.request ->> 'prompt', jobs_job.request ->> 'text',
    jobs_job.request #>> '{messages,-1,content}', jobs_job.request #>> '{inputs,0}'), 200)
END
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs; None is all. `key` is a key's id, or SESSION."""

    kind: str | None = None
    model: str | None = None
    state: str | None = None
    key: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs with their outputs, and the id to go on before; `searched` if the page is not full
    since so many jobs were looked at."""

    jobs: list[Job]
    older: uuid.UUID | None
    searched: bool


def page(
    owner: int, choice: Choice | None = None, before: uuid.UUID = NEWEST, limit: int = PAGE
) -> Page:
    """The newest jobs of the owner that were made before the one with the id `before`."""
    asked = {"owner": owner, "before": before, "seen": SEEN}
    rows = run(CHOSEN, {**asked, **asdict(choice or Choice()), "limit": limit + 1})
    ids = [row[0] for row in rows]
    if len(ids) > limit:
        return Page(read(ids[:limit]), ids[limit - 1], searched=False)
    last = run(LAST_SEEN, asked)
    return Page(read(ids), last[0][0] if last else None, searched=bool(last))


def run(statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement that is planned for this account alone: a plan that is good for one
    with most of the jobs reads them all for one with few."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def read(ids: list[uuid.UUID]) -> list[Job]:
    return list(lines().filter(id__in=ids).order_by("-id"))


def lines() -> QuerySet[Job]:
    """Jobs as a list shows them, with `excerpt`: without their requests and results, which may be
    megabytes."""
    excerpt = RawSQL(EXCERPT, (), output_field=CharField(null=True))  # noqa: S611 - a constant
    rows = Job.objects.defer("request", "result").annotate(excerpt=excerpt)
    return rows.prefetch_related("outputs")


def models_of(owner: int, references: list[str]) -> dict[str, str]:
    """Which model each of the owner's jobs was for, by the job's id as its transfers name it."""
    known = {reference: parse(reference) for reference in references}
    rows = Job.objects.filter(owner=owner, id__in=filter(None, known.values()))
    models = dict(rows.values_list("id", "model"))
    return {reference: models[job] for reference, job in known.items() if job in models}
