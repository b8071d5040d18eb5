"""One per machine: compares wishes, demand and pods twice a second, and acts on the plan."""

import logging
import signal
import sys
import threading
import time
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from modelpilot.fleet import deployments, economics, facts, machine
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.facts import SILENCE_S
from modelpilot.fleet.models import Deployment, Node, Pod
from modelpilot.fleet.pieces import Start, Stop
from modelpilot.fleet.plan import plan
from modelpilot.fleet.pod import DATABASE_AWAY, LOAD_FAILED
from modelpilot.fleet.supervise import Child
from modelpilot.jobs import rescue
from modelpilot.jobs.models import Job

log = logging.getLogger(__name__)

LOOK_S = 0.5
# How often the pods' time is added to what their models cost.
COUNT_S = 15.0
# How long a pod may take to drain before it is killed, when this node itself stops. One that
# makes way for others may finish what it runs, and has this long beyond its card's deadline.
GRACE_S = 30.0


class NodeRunner:
    def __init__(self) -> None:
        self.name = settings.NODE
        self.children: dict[uuid.UUID, Child] = {}
        # Pods that were told to stop, and when to stop asking nicely.
        self.kill_at: dict[uuid.UUID, float] = {}
        self.counted_at = time.monotonic()
        self.stopping = threading.Event()

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then drain every pod and return."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        while not self.stopping.is_set():
            try:
                self.look()
            except (DatabaseError, InterfaceError) as error:
                log.warning("The database is away: %s", error)
            finally:
                connection.close()
            self.stopping.wait(LOOK_S)
        self.stop_all()

    def look(self) -> None:
        """One round: what has died, what is overdue, what to start and stop."""
        self.reap()
        # After the dead were buried: what they held is free.
        found = [device.as_json() for device in machine.devices()]
        Node.objects.update_or_create(
            name=self.name, defaults={"devices": found, "heartbeat_at": Now()}
        )
        self.kill_overdue()
        self.forget_strangers()
        if time.monotonic() - self.counted_at > COUNT_S:
            economics.count(self.name)
            self.counted_at = time.monotonic()
        self.refuse_hopeless()
        for action in plan(*facts.gather().args):
            if isinstance(action, Stop) and action.pod in self.children:
                self.stop(action.pod, action.reason)
            elif isinstance(action, Start) and action.node == self.name:
                self.start(action)

    def start(self, start: Start) -> None:
        deployment = Deployment.objects.get(id=start.deployment)
        devices = start.devices
        known = cards().cards[deployment.model]
        card = known.way(start.engine, machine.kind(devices), len(devices))
        pod = Pod.objects.create(
            deployment=deployment,
            node_id=self.name,
            devices=list(devices),
            engine=card.engine,
            memory_mb=card.memory_mb,
        )
        log.info("Starting pod %s for %s on %s.", pod.id, deployment.model, ", ".join(devices))
        child = Child(
            f"pod {deployment.model}",
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "pod", str(pod.id)],
            env={**settings.POD_ENVIRONMENT, **machine.environment(devices)},
        )
        child.start()
        self.children[pod.id] = child

    def stop(self, pod: uuid.UUID, reason: str) -> None:
        log.info("Stopping %s: %s.", self.children[pod].name, reason)
        row = Pod.objects.select_related("deployment").get(id=pod)
        # The row first: it tells the pod that it may take its time.
        row.phase = Pod.Phase.DRAINING
        row.save(update_fields=["phase"])
        Deployment.objects.filter(id=row.deployment_id).update(left_at=Now())
        self.children[pod].terminate()
        card = cards().cards.get(row.deployment.model)
        patience = card.deadline_s if card and row.ready_at else 0
        self.kill_at[pod] = time.monotonic() + patience + GRACE_S

    def reap(self) -> None:
        """Pods whose process has ended: their jobs go back, and a failed load is noted."""
        for pod_id, child in list(self.children.items()):
            status = child.poll()
            if status is None:
                continue
            pod = Pod.objects.filter(id=pod_id).first()
            loading = pod is not None and pod.phase not in (Pod.Phase.READY, Pod.Phase.DRAINING)
            if pod is not None and loading and status not in (LOAD_FAILED, DATABASE_AWAY):
                error = f"Its process died while loading (exit status {status})."
                deployments.record_failure(pod.deployment_id, error, retryable=True)
            economics.count(self.name, [pod_id])
            rescue.release_pod(pod_id)
            del self.children[pod_id]
            self.kill_at.pop(pod_id, None)
            log.info("%s ended with status %d.", child.name, status)

    def kill_overdue(self) -> None:
        silent = timezone.now() - timedelta(seconds=SILENCE_S)
        frozen = Pod.objects.filter(
            id__in=list(self.children), ready_at__isnull=False, heartbeat_at__lt=silent
        )
        for pod in frozen:
            log.error("%s has not been heard of for %d s: killed.", pod, SILENCE_S)
            self.children[pod.id].kill()
        for pod_id, at in self.kill_at.items():
            if time.monotonic() > at:
                self.children[pod_id].kill()

    def forget_strangers(self) -> None:
        """Rows of pods that nobody keeps: their node died, and so did they.

        Those of another node that lives are its own: one that loads may be silent for long.
        """
        silent = timezone.now() - timedelta(seconds=SILENCE_S)
        kept = Q(node__heartbeat_at__gte=silent) & ~Q(node=self.name)
        strangers = Pod.objects.filter(heartbeat_at__lt=silent).exclude(kept)
        for pod in strangers.exclude(id__in=list(self.children)):
            economics.count(pod.node_id, [pod.id], seen=False)
            rescue.release_pod(pod.id)

    def refuse_hopeless(self) -> None:
        """Jobs that wait for what won't come fail now, not at their deadline."""
        for deployment in Deployment.objects.filter(has_waiting()):
            if deployment.desired == Deployment.Desired.STOPPED:
                rescue.fail_waiting(deployment.model, stopped_error(deployment.model))
            elif deployment.failures >= deployments.MAX_FAILURES:
                rescue.fail_waiting(deployment.model, load_error(deployment))

    def stop_all(self) -> None:
        for pod_id, child in self.children.items():
            child.terminate()
            self.kill_at[pod_id] = time.monotonic() + GRACE_S
        while self.children:
            time.sleep(0.05)
            try:
                self.reap()
                self.kill_overdue()
            except (DatabaseError, InterfaceError):
                connection.close()
                self.abandon_ended()
        strangers = Pod.objects.filter(node_id=self.name).values_list("id", flat=True)
        economics.count(self.name, list(strangers), seen=False)

    def abandon_ended(self) -> None:
        """Without a database the rows stay; only see to it that the processes end."""
        for pod_id, child in list(self.children.items()):
            if time.monotonic() > self.kill_at[pod_id]:
                child.kill()
            if child.poll() is not None:
                del self.children[pod_id]


def stopped_error(model: str) -> dict[str, object]:
    return {
        "code": "model_not_available",
        "message": f"Model '{model}' deployment is not running (status: stopped)",
        "status": 503,
        "param": "model",
    }


def load_error(deployment: Deployment) -> dict[str, object]:
    return {
        "code": "model_not_loadable",
        "message": f"Model '{deployment.model}' can't be loaded. {deployment.error}",
        "status": 503,
        "param": "model",
    }


def has_waiting() -> Exists:
    return Exists(Job.objects.filter(state=Job.State.QUEUED, model=OuterRef("model")))
