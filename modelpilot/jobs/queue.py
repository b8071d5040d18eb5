"""Where a job stands in its model's queue, and whether that is too long."""

import time

from django.conf import settings
from django.db.models import Q

from modelpilot.jobs.models import Job

# Counting further would cost as much as the queue is long, and says nothing more.
FAR = 1000


def position(job: Job) -> int:
    """1 for the next to be claimed; at most FAR."""
    before = Job.objects.filter(
        Q(fair_tag__lt=job.fair_tag) | Q(fair_tag=job.fair_tag, id__lt=job.id),
        state=Job.State.QUEUED,
        model=job.model,
    )
    return len(before.values_list("id", flat=True)[: FAR - 1]) + 1


# How long a count holds: asked at every submit, and a queue grows no faster than that.
COUNTED_S = 1.0
counted: dict[str, tuple[float, bool]] = {}


def crowded(model: str) -> bool:
    """Whether as many jobs wait for the model as may, some moments ago."""
    now = time.monotonic()
    at, found = counted.get(model, (-COUNTED_S, False))
    if now - at >= COUNTED_S:
        # Counted first: whoever comes meanwhile need not count, too.
        counted[model] = (now, found)
        waiting = Job.objects.filter(state=Job.State.QUEUED, model=model)
        place = settings.JOBS_PER_MODEL - 1
        found = bool(waiting.values_list("id", flat=True)[place : place + 1])
        counted[model] = (now, found)
    return found


def waits(owner: int, model: str) -> bool:
    """Whether a job of this account waits for the model."""
    return Job.objects.filter(state=Job.State.QUEUED, owner=owner, model=model).exists()
