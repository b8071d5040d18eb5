"""What should run (Deployment), where it can (Node), and what does (Pod)."""

import uuid

from django.db import models
from django.db.models.functions import Now
from django.utils.crypto import get_random_string


def new_deployment_id() -> str:
    return "dep" + get_random_string(12, "0123456789abcdefghijklmnopqrstuvwxyz")


class Node(models.Model):
    """A machine that runs `manage.py node`."""

    name = models.CharField(primary_key=True, max_length=100)
    memory_mb = models.IntegerField()
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
    pinned = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    # Moving averages of what was measured here, for estimates; null before the first.
    load_seconds = models.FloatField(null=True)
    run_seconds = models.FloatField(null=True)
    # Loads that failed one after the other, the last reason, and when to try again.
    failures = models.IntegerField(default=0)
    error = models.TextField(default="")
    retry_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.model} ({self.desired})"


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
    phase = models.CharField(max_length=20, choices=Phase.choices, default=Phase.STARTING)
    # 0..1 of the download, while there is one.
    progress = models.FloatField(null=True)
    memory_mb = models.IntegerField()
    slots = models.IntegerField(default=0)
    busy = models.IntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    # When it last had something to do.
    active_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.deployment_id}/{self.id} ({self.phase})"
