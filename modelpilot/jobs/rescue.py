"""Nothing stays behind: jobs of dead pods run again or end, and no job outlives its deadline."""

import logging
import uuid

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from modelpilot.jobs import doorbell, journal, sql, stream
from modelpilot.jobs.cancel import CANCEL_AFTER_PASSED, CANCELLED
from modelpilot.jobs.lease import conclude_if
from modelpilot.jobs.models import Job

log = logging.getLogger(__name__)

BATCH = 500

POD_DIED = {
    "code": "pod_died",
    "message": "The process that ran this job died. Nothing was charged; send the request again.",
    "status": 503,
}
DEADLINE_PASSED = {
    "code": "deadline_exceeded",
    "message": "The job did not finish before its deadline. Nothing was charged.",
    "status": 504,
}


def rescue() -> None:
    """One round; any number of processes may do it at once."""
    for job in Job.objects.filter(state=Job.State.RUNNING, lease_until__lt=Now())[:BATCH]:
        rescue_running(job)
    waiting = Job.objects.filter(state=Job.State.QUEUED)
    given_up = waiting.filter(cancel_at__lt=Now())
    for job_id in given_up.values_list("id", flat=True)[:BATCH]:
        drop(job_id, CANCEL_AFTER_PASSED, Job.State.CANCELLED)
    late = waiting.filter(deadline_at__lt=Now())
    for job_id in late.values_list("id", flat=True)[:BATCH]:
        drop(job_id, DEADLINE_PASSED)
    for model in waiting.values_list("model", flat=True).order_by().distinct():
        doorbell.ring(model)


def rescue_running(job: Job) -> None:
    """Give a job back whose pod has not renewed its lease, or end it."""
    if job.cancel_requested_at:
        end(job, Job.State.CANCELLED, CANCELLED)
    elif job.attempt >= settings.MAX_ATTEMPTS or job.stream:
        # Nobody can know what the reader of a stream has got already: it is not repeated.
        end(job, Job.State.FAILED, POD_DIED)
    else:
        requeue(job)


def end(job: Job, state: Job.State, error: dict[str, object]) -> None:
    if conclude_if(sql.GIVE_UP, job.id, job.attempt, state, 0, error=error) is not None:
        log.warning("Job %s lost its pod in attempt %d: %s.", job.id, job.attempt, state)
        stream.close(job.id, job.attempt)


def requeue(job: Job) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.REQUEUE, {"id": job.id, "attempt": job.attempt})
        requeued = cursor.fetchone() is not None
    if requeued:
        journal.requeued(
            job.id,
            request_id=job.request_id,
            account=job.owner_id,
            model=job.model,
            attempt=job.attempt,
            pod=job.pod,
        )
        stream.restart(job.id, job.attempt)
        doorbell.ring(job.model)


def drop(job: uuid.UUID, error: dict[str, object], state: Job.State = Job.State.FAILED) -> None:
    """Fail a job that has not started, or end it otherwise; it costs nothing."""
    attempt = conclude_if(sql.DROP, job, None, state, 0, error=error)
    if attempt is not None:
        stream.close(job, attempt)


def fail_waiting(model: str, error: dict[str, object]) -> None:
    """Fail all that wait for a model which can't be loaded."""
    waiting = Job.objects.filter(state=Job.State.QUEUED, model=model)
    for job_id in waiting.values_list("id", flat=True).iterator():
        drop(job_id, error)


def release_pod(pod: uuid.UUID) -> None:
    """A pod is known to be dead: its jobs need not wait for their leases to run out."""
    if Job.objects.filter(pod=pod, state=Job.State.RUNNING).update(lease_until=Now()):
        rescue()
