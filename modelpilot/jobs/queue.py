"""Where a job stands in its model's queue."""

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
