"""How a job has ended, read without the ORM: every answer needs it, and it costs a fifth so."""

import json
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from modelpilot import prepared
from modelpilot.jobs import shown
from modelpilot.jobs.models import Job


@dataclass(frozen=True, slots=True)
class Outcome:
    """The part of the row that an answer is made of; `cost` in micro-dollars."""

    id: uuid.UUID
    model: str
    deployment: str
    state: str
    cost: int
    created_at: datetime
    finished_at: datetime | None
    result: dict[str, Any]
    error: dict[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether there is something to answer with: not once its content was deleted."""
        return self.state == Job.State.SUCCEEDED and bool(self.result)


READ = """
SELECT id, model, deployment, state, cost, created_at, finished_at, result, error
FROM jobs_job WHERE id = %(id)s::uuid
"""


def read(job: uuid.UUID) -> Outcome:
    (row,) = prepared.run(READ, {"id": job})
    # Django leaves jsonb as text.
    fields = [*row[:7], *(json.loads(text or "{}") for text in row[7:])]
    outcome = Outcome(*fields)
    gone = outcome.state == Job.State.SUCCEEDED and not outcome.result
    return replace(outcome, error=shown.DELETED) if gone else outcome
