"""Cancelling: the row's flag is the truth, the pod's control stream only makes it fast."""

import uuid

from django.db import connection

from modelpilot.jobs import journal, sql, stream
from modelpilot.jobs.lease import conclude_if
from modelpilot.jobs.models import Job

CANCELLED = {"code": "cancelled", "message": "The job was cancelled.", "status": 409}
CANCEL_AFTER_PASSED = {
    "code": "cancelled",
    "message": "The job was cancelled, as its Cancel-After was over. It costs what it had "
    "delivered by then.",
    "status": 409,
}


def cancel(job: uuid.UUID) -> None:
    """Stop a job; does nothing to one that has ended.

    One that waits ends here, with its hold released. One that runs is ended by its pod
    within a second, which charges what was delivered.
    """
    # Twice, as a rescue may put it back into the queue between the two looks.
    for _ in range(2):
        attempt = conclude_if(sql.DROP, job, None, Job.State.CANCELLED, 0, error=CANCELLED)
        if attempt is not None:
            stream.close(job, attempt)
            return
        with connection.cursor() as cursor:
            cursor.execute(sql.REQUEST_CANCEL, {"id": job})
            row = cursor.fetchone()
        if row is not None:
            journal.cancel_requested(job)
            stream.tell_pod(row[0], job)
            return
