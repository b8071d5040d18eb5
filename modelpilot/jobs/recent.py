"""What somebody made with one model lately, each in a line and without its megabytes."""

import uuid
from typing import Any

from modelpilot import prepared
from modelpilot.jobs import storage
from modelpilot.jobs.models import Output
from modelpilot.jobs.shown import timestamp

# Older jobs are not looked at, so that a model which was never tried costs no more than others.
SEEN = 1000

# A request that brings a file along is not unpacked for a line of it.
LATEST = """
SELECT id, kind, state, cost, created_at,
       CASE WHEN pg_column_size(request) < 100000 THEN left(COALESCE(
           request ->> 'prompt', request ->> 'text', request #>> '{messages,-1,content}',
           request #>> '{inputs,0}'), 200)
       END,
       CASE WHEN pg_column_size(result) < 100000 THEN
           left(COALESCE(result #>> '{choices,0,text}', result ->> 'text'), 200)
       END
FROM (SELECT * FROM jobs_job WHERE owner_id = %(owner)s::bigint
      ORDER BY id DESC LIMIT %(seen)s::bigint) seen
WHERE model = %(model)s::text AND request <> '{}'::jsonb
  AND state IN ('queued', 'running', 'succeeded')
ORDER BY id DESC
LIMIT %(limit)s::bigint
"""


def latest(owner: int, model: str, limit: int) -> list[dict[str, Any]]:
    """The owner's newest jobs of the model that succeeded or may yet, newest first, as JSON.

    `asked` and `answer` are the beginnings of what was asked and, of text, answered; `cost` is in
    micro-dollars; the links of `outputs` hold for as long as any.
    """
    rows = prepared.run(LATEST, {"owner": owner, "model": model, "seen": SEEN, "limit": limit})
    files = outputs_of([row[0] for row in rows])
    return [
        {
            "id": str(job),
            "kind": kind,
            "state": state,
            "cost": cost,
            "created_at": timestamp(created_at),
            "asked": asked,
            "answer": answer,
            "outputs": files.get(job, []),
        }
        for job, kind, state, cost, created_at, asked, answer in rows
    ]


def outputs_of(jobs: list[uuid.UUID]) -> dict[uuid.UUID, list[dict[str, Any]]]:
    found: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for output in Output.objects.filter(job__in=jobs).order_by("name"):
        file = {"url": storage.signed_path(output.id), "media_type": output.media_type}
        found.setdefault(output.job_id, []).append(file)
    return found
