"""What should run (Deployment), where it can (Node), and what does (Pod)."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.crypto import get_random_string

from inference.picking import Choice


def on_cpu() -> list[str]:
    return ["cpu"]


def new_deployment_id() -> str:
    return "dep" + get_random_string(12, "0123456789abcdefghijklmnopqrstuvwxyz")


class Node(models.Model):
    """A machine that runs `manage.py node`."""

    name = models.CharField(primary_key=True, max_length=100)
    # As fleet.machine found them: [{"id", "kind", "name", "total_mb", "memory_mb", "free_mb"}].
    devices = models.JSONField(default=list)
    heartbeat_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name


class Deployment(models.Model):
    """The wish that a model be served: a pod is started when a job arrives."""

    class Desired(models.TextChoices):
        RUNNING = "running"
        STOPPED = "stopped"

    id = models.CharField(primary_key=True, max_length=40, default=new_deployment_id)
    model = models.CharField(max_length=100, unique=True)
    desired = models.CharField(max_length=10, choices=Desired.choices, default=Desired.RUNNING)
    # Seconds without work after which its pods stop; null means the setting's.
    idle_seconds = models.IntegerField(null=True)
    # One pod stays loaded, work or not, and makes way for nobody.
    pinned = models.BooleanField(default=False)
    # The most pods at once; more than one only while its queue is worth it.
    replicas = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    # Moving averages of what was measured here, for estimates; null before the first.
    load_seconds = models.FloatField(null=True)
    run_seconds = models.FloatField(null=True)
    # The latest runs that succeeded, newest first; a hundred at most.
    recent_runs = ArrayField(models.FloatField(), default=list)
    # Loads that failed one after the other, the last reason, and when to try again.
    failures = models.IntegerField(default=0)
    error = models.TextField(default="")
    retry_at = models.DateTimeField(null=True)
    # The engine that the operator chose; empty: what fits the hardware best.
    engine = models.CharField(max_length=100, default="", blank=True)
    # On how many devices the operator wants each pod; null: what fits the hardware best.
    devices = models.IntegerField(null=True)
    # When a pod of it was last told to go: who has just been served waits from then on.
    left_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.model} ({self.desired})"

    @property
    def choice(self) -> Choice:
        """What the operator wants of the ways to run its model."""
        return Choice(self.engine, self.devices)


class Pod(models.Model):
    """One process with one loaded model. The row goes when the process has gone."""

    class Phase(models.TextChoices):
        STARTING = "starting"
        DOWNLOADING = "downloading"
        LOADING = "loading"
        READY = "ready"
        DRAINING = "draining"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="pods")
    node = models.ForeignKey(Node, models.CASCADE, related_name="pods")
    # "cpu", or the UUIDs of its GPUs.
    devices = ArrayField(models.CharField(max_length=100), default=on_cpu)
    phase = models.CharField(max_length=20, choices=Phase.choices, default=Phase.STARTING)
    # 0..1 of the download, while there is one.
    progress = models.FloatField(null=True)
    # Of the ways to run its model, the one that was chosen when it started.
    engine = models.CharField(max_length=100, default="")
    # What its card reckons with, on each of its devices; and what it has in the machine's memory.
    memory_mb = models.IntegerField()
    resident_mb = models.IntegerField(default=0)
    slots = models.IntegerField(default=0)
    busy = models.IntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    # Up to when its time is in PodTime.
    counted_at = models.DateTimeField(db_default=Now())
    ready_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(db_default=Now())
    # When it last had something to do.
    active_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.deployment_id}/{self.id} ({self.phase})"

    @property
    def loading_seconds(self) -> float:
        """From its start to its loaded model, downloads included."""
        assert self.ready_at is not None
        return (self.ready_at - self.created_at).total_seconds()


class PodTime(models.Model):
    """How long pods of one model sat on one kind of device on one day (UTC), and what that cost.

    A pod that sits on two devices counts twice. Counted up by the nodes (see fleet.economics), as
    the pods' own rows go with them. The names outlive both.
    """

    day = models.DateField()
    model = models.CharField(max_length=100)
    # "CPU", or what a GPU is called.
    device = models.CharField(max_length=100)
    seconds = models.FloatField()
    # Micro-dollars, at the operator's price of that time. No money that moves, so no integer.
    cost = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "model", "device"], name="one_pod_time_per_day_model_and_device"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} on {self.device} on {self.day}"
