"""A job as its owner sees it, in the API and in webhooks."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from billing.money import usd
from inference.types import Kind
from modelpilot.errors import ApiError
from modelpilot.jobs import storage
from modelpilot.jobs.models import Job

# What a request brings along as a file.
ATTACHMENTS = ("image", "mask", "audio_prompt", "audio")


def ended(job: Job, link: Callable[[str], str]) -> dict[str, Any]:
    """The body of a job that has ended; `link` makes a path of ours absolute."""
    return {
        "id": str(job.id),
        "object": "job",
        "kind": job.kind,
        "model": job.model,
        "state": job.state,
        "phase": job.state,
        "queue_position": None,
        "progress": float(job.state == Job.State.SUCCEEDED),
        "attempt": job.attempt,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "cost": usd(job.cost),
        "outputs": [
            {
                "url": link(storage.signed_path(output.id)),
                "media_type": output.media_type,
                "bytes": output.bytes,
            }
            for output in job.outputs.all()
        ],
        "result": told(job),
        "warnings": (job.result or {}).get("warnings", []),
        "error": job_error(job.error).body()["error"] if job.error else None,
        "request": abridged(job.request),
    }


def told(job: Job) -> dict[str, Any] | None:
    """The result, where it is for reading: not what is in the outputs, and no vectors."""
    if job.kind in (Kind.TEXT, Kind.TRANSCRIPTION):
        return job.result
    if job.kind == Kind.EMBEDDING and job.result:
        count = len(job.result["embeddings"])
        dimensions = job.result["dimensions"]
        vectors = f"({count} {'vector' if count == 1 else 'vectors'} of {dimensions} numbers)"
        return {**job.result, "embeddings": vectors}
    return None


def abridged(request: dict[str, Any]) -> dict[str, Any]:
    """The request without the megabytes that came with it."""
    return {
        name: f"({len(value)} characters of base64)" if name in ATTACHMENTS and value else value
        for name, value in request.items()
    }


# What a job that succeeded has to say once its content was deleted, as the row of one that failed.
DELETED = {
    "code": "output_not_found",
    "message": "What this job made was deleted. Run it again, if you want it after all.",
    "param": "id",
    "status": 404,
}


def failure(job: Job) -> ApiError | None:
    """Why there is nothing to show of a job that has ended, if there is nothing."""
    if job.state != Job.State.SUCCEEDED:
        return job_error(job.error)
    return job_error(DELETED) if job.result is None else None


def job_error(error: dict[str, Any] | None, **detail: Any) -> ApiError:
    """The answer of a waiting route to a job that did not succeed, from its row's `error`;
    `detail` goes inside of it."""
    error = dict(error or {})
    status = error.pop("status", 500)
    return ApiError(
        status,
        error.pop("code"),
        error.pop("message"),
        param=error.pop("param", None),
        type="invalid_request_error" if status < 500 else "server_error",
        headers={"Retry-After": "5"} if status == 503 else None,
        detail=detail,
    )


def timestamp(moment: datetime | None) -> int | None:
    """Unix seconds, as OpenAI's objects have them."""
    return None if moment is None else int(moment.timestamp())
