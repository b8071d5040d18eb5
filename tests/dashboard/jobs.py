"""Jobs that have ended, without a model: claimed and finished as a pod does it."""

from typing import Any

from inference.types import File
from modelpilot.accounts.models import User
from modelpilot.jobs import lease, storage
from modelpilot.jobs.models import Job
from tests.cast import PRICE, pod_id, submitted

REFUSED = {
    "code": "context_length_exceeded",
    "message": "The prompt is too long. Shorten the messages.",
    "param": "messages",
    "status": 400,
}


def ended(
    owner: User,
    *,
    state: Job.State = Job.State.SUCCEEDED,
    files: tuple[File, ...] = (),
    result: dict[str, Any] | None = None,
    **fields: Any,
) -> Job:
    """A job that a pod has ended, charged where it succeeded."""
    job = submitted(owner, **fields)
    (claim,) = lease.claim(job.model, pod_id(), 1)
    succeeded = state == Job.State.SUCCEEDED
    lease.finish(
        claim,
        state,
        charge=PRICE if succeeded else 0,
        result=result if succeeded else None,
        error=None if succeeded else REFUSED,
        outputs=storage.store(job.id, claim.attempt, list(files)),
    )
    return Job.objects.get(id=job.id)


def said(text: str) -> dict[str, Any]:
    """The result of a chat."""
    return {
        "choices": [{"index": 0, "text": text, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }
