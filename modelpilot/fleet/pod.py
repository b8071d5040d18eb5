"""A pod: one process with one loaded model, from its start to its last job.

main thread      Celery worker, the ear: a bell means `drain`
slot threads     one job each
heart thread     every HEARTBEAT_S: row, leases, cancels, deadlines, watches, and a drain
control thread   cancels that can't wait for the heart
publisher        the one writer of events
"""

import logging
import os
import signal
import threading
import time
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.models.functions import Now

from inference import engines, weights
from inference.catalog import Card
from inference.errors import EngineLost, InferenceError
from inference.types import Engine
from modelpilot.celery import app
from modelpilot.fleet import deployments, economics, machine
from modelpilot.fleet.models import Pod as PodRow
from modelpilot.fleet.run import Run
from modelpilot.jobs import counters, doorbell, lease, rescue, valkey
from modelpilot.jobs.stream import Publisher, pod_key, watch_key

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
# A watched job whose client nobody has confirmed for this long is cancelled.
WATCH_S = 15.0
# How long a run may ignore that it should stop before the whole pod goes.
STUBBORN_S = 30.0
DRAIN_S = 25.0
# The web process and the servers go first: they need little, and all wait for them.
NICENESS = 5
AUTOGROUP = Path("/proc/self/autogroup")
# Exit status of a pod that has itself recorded why its model can't be loaded.
LOAD_FAILED = 3
# Of one that had nowhere to record that it was loading: it says nothing about its model.
DATABASE_AWAY = 4


class Pod:
    def __init__(self, pod_id: uuid.UUID, card: Card) -> None:
        self.id = pod_id
        self.card = card
        self.row = PodRow.objects.filter(id=pod_id)
        row = self.row.get()
        self.deployment, self.node = row.deployment_id, row.node_id
        self.publisher = Publisher(valkey.client())
        self.lock = threading.Lock()
        self.runs: dict[uuid.UUID, Run] = {}
        self.unwatched_since: dict[uuid.UUID, float] = {}
        self.draining = False
        self.parent = os.getppid()
        # Runs that succeeded and are not recorded yet, newest first: in seconds.
        self.measured: deque[float] = deque(maxlen=100)
        self.active_at = time.monotonic()
        self.downloaded_at = time.monotonic()
        self.downloading_s = 0.0
        self.engine: Engine

    # Starting

    def load(self) -> None:
        """Bring the weights and the engine up; raises InferenceError saying what is wrong."""
        row = self.row.get()
        files = weights.fetch(self.card, settings.MODELS, settings.CACHE, self.downloaded)
        self.set(phase=PodRow.Phase.LOADING, progress=None)
        self.engine = engines.load(self.card, files, machine.computing(row.devices, row.memory_mb))
        self.slots = ThreadPoolExecutor(self.engine.slots, "slot")
        self.active_at = time.monotonic()
        # What took minutes to load is not thrown away because the database restarts.
        lease.retrying(self.set_ready)
        seconds = self.row.get().loading_seconds
        # The next load needs no download.
        deployments.record_load(self.deployment, seconds - self.downloading_s)
        counters.observe(counters.COLD_START, self.card.id, seconds=seconds)
        log.info("%s is ready after %.1f s, %d MB.", self.card.id, seconds, resident_mb())

    def downloaded(self, fraction: float) -> None:
        """Say how far the download is; the jobs that wait for it are not late meanwhile."""
        if fraction == 1 and not self.downloading_s:
            return  # all was here
        self.set(phase=PodRow.Phase.DOWNLOADING, progress=fraction)
        now = time.monotonic()
        lease.postpone_deadlines(self.card.id, now - self.downloaded_at)
        self.downloading_s += now - self.downloaded_at
        self.downloaded_at = now

    def set(self, **fields: Any) -> None:
        self.row.update(heartbeat_at=Now(), **fields)

    def set_ready(self) -> bool:
        self.set(
            phase=PodRow.Phase.READY,
            slots=self.engine.slots,
            resident_mb=resident_mb(),
            active_at=Now(),
            ready_at=Now(),
        )
        return True

    def serve(self) -> None:
        """Work until SIGTERM, then finish what runs and return."""
        self.publisher.start()
        threading.Thread(target=self.beat, name="heart", daemon=True).start()
        threading.Thread(target=self.listen, name="control", daemon=True).start()
        self.drain_safely()
        try:
            self.hear_bells()
        finally:
            self.wind_down()

    def hear_bells(self) -> None:
        """Run the Celery worker in this thread. One thread is enough: it only listens."""
        app.task(name=doorbell.TASK)(self.drain_safely)
        # Taking bells ahead is harmless, as they carry nothing. Without, kombu stops listening
        # while a bell is answered, and sleeps up to a second before it listens again.
        app.conf.worker_disable_prefetch = False
        worker = app.Worker(
            queues=[doorbell.queue(self.card.id)],
            pool="threads",
            concurrency=1,
            prefetch_multiplier=0,
            hostname=f"pod-{self.id}@%h",
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        worker.start()

    # Working

    def drain(self) -> None:
        """Claim as many jobs as there are free slots, and start them."""
        with self.lock:
            free = 0 if self.draining else self.engine.slots - len(self.runs)
            if free <= 0:
                return
            for claim in lease.claim(self.card.id, self.id, free, self.engine.slots):
                run = Run(claim, self.publisher)
                self.runs[claim.id] = run
                self.slots.submit(self.work, run)

    def work(self, run: Run) -> None:
        try:
            run.work(self.engine)
        except EngineLost as error:
            # As if the pod were killed: its jobs go to another, which the node starts.
            log.error("The engine of this pod is lost, and so the pod is: %s", error.message)
            os._exit(1)
        except Exception:
            log.exception("Job %s could not be ended; its lease runs out.", run.claim.id)
        finally:
            # Before the lock: who holds that may be waiting for a connection of the pool.
            connection.close()
            with self.lock:
                # Who lost the job may have claimed it again meanwhile.
                if self.runs.get(run.claim.id) is run:
                    del self.runs[run.claim.id]
                    self.unwatched_since.pop(run.claim.id, None)
            self.active_at = time.monotonic()
            if run.succeeded:
                self.measured.appendleft(self.active_at - run.started)
        self.drain_safely()

    def drain_safely(self) -> None:
        try:
            self.drain()
        except (DatabaseError, InterfaceError) as error:
            log.warning("No claim, the database is away: %s", error)
        finally:
            connection.close()

    def record(self) -> None:
        """Hand over how long the latest runs took."""
        runs: deque[float] = deque()
        with suppress(IndexError):
            while True:
                runs.appendleft(self.measured.pop())
        if runs:
            deployments.record_runs(self.deployment, list(runs))

    # Keeping

    def beat(self) -> None:
        last_success = time.monotonic()
        while True:
            try:
                self.heartbeat()
                last_success = time.monotonic()
            except (DatabaseError, InterfaceError) as error:
                log.warning("No heartbeat, the database is away: %s", error)
            finally:
                connection.close()
            if time.monotonic() - last_success > settings.LEASE_S:
                # Others may have our jobs by now.
                self.stop_all("lost")
            self.stop_stubborn()
            if os.getppid() != self.parent:
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(HEARTBEAT_S)

    def heartbeat(self) -> None:
        with self.lock:
            runs = dict(self.runs)
        idle_s = 0.0 if runs else time.monotonic() - self.active_at
        if not self.row.update(
            heartbeat_at=Now(),
            busy=len(runs),
            resident_mb=resident_mb(),
            active_at=Now() - timedelta(seconds=idle_s),
        ):
            log.error("This pod's row is gone: it is believed dead and stops.")
            self.draining = True
            self.stop_all("lost")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self.renew(runs)
        self.look_for_clients(runs)
        self.record()
        self.drain()

    def renew(self, runs: dict[uuid.UUID, Run]) -> None:
        ours = lease.renew({run.claim.id: run.claim.attempt for run in runs.values()})
        for job, run in runs.items():
            if job not in ours:
                run.stop("lost")
            elif ours[job]:
                run.stop("cancelled")
            elif time.monotonic() > run.cancel_at:
                run.stop("cancel-after")
            elif time.monotonic() > run.deadline:
                run.stop("deadline")

    def look_for_clients(self, runs: dict[uuid.UUID, Run]) -> None:
        """Cancel jobs whose waiting client is gone with its web process.

        Only an answer of Valkey counts, and only 15 s of them without a break.
        """
        watched = [job for job, run in runs.items() if run.claim.watched]
        if not watched:
            return
        try:
            present = valkey.client().mget([watch_key(job) for job in watched])
        except valkey.AWAY:
            self.unwatched_since.clear()
            return
        for job, value in zip(watched, present, strict=True):
            if value is not None:
                self.unwatched_since.pop(job, None)
            elif (
                time.monotonic() - self.unwatched_since.setdefault(job, time.monotonic()) > WATCH_S
            ):
                runs[job].stop("cancelled")

    def listen(self) -> None:
        """Read this pod's control stream: `{"cancel": job}`."""
        position: bytes = b"0-0"
        key = pod_key(self.id)
        client = valkey.client()
        while True:
            try:
                answer: Any = client.xread({key: position}, block=4000)
            except valkey.AWAY:
                time.sleep(1)
                continue
            for _, entries in answer or ():
                for entry_id, fields in entries:
                    position = entry_id
                    run = self.runs.get(uuid.UUID(hex=fields[b"cancel"].decode()))
                    if run is not None:
                        run.stop("cancelled")

    # Stopping

    def stop_all(self, reason: str) -> None:
        with self.lock:
            for run in self.runs.values():
                run.stop(reason)

    def stop_stubborn(self) -> None:
        """An engine that does not answer takes the process with it: nothing else frees it."""
        now = time.monotonic()
        for run in list(self.runs.values()):
            if run.stopped is not None and now - run.stopped_at > STUBBORN_S:
                log.error("Job %s ignores that it should stop; the pod exits.", run.claim.id)
                os._exit(1)

    def wind_down(self) -> None:
        """Claim nothing more and let running jobs finish.

        A pod that makes way for others takes as long as they need, up to their deadlines. If
        the node itself stops, they have DRAIN_S, and the rest is handed back.
        """
        # Told once is enough; Celery would take a second time as hurry.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.draining = True
        patient = self.told_by_row()
        give_up = time.monotonic() + DRAIN_S
        while self.runs and (patient or time.monotonic() < give_up):
            if patient and os.getppid() != self.parent:
                patient, give_up = False, time.monotonic() + DRAIN_S
            time.sleep(0.05)
        self.stop_all("draining")
        self.slots.shutdown(wait=False, cancel_futures=True)
        self.publisher.stop()
        self.engine.close()
        with suppress(DatabaseError, InterfaceError):
            self.record()
            # The node does this once our memory is free, unless it has died.
            if os.getppid() != self.parent:
                economics.count(self.node, [self.id])
                rescue.release_pod(self.id)

    def told_by_row(self) -> bool:
        """Whether the node wrote that this pod drains; else the row learns it from us."""
        with suppress(DatabaseError, InterfaceError):
            if self.row.filter(phase=PodRow.Phase.DRAINING).exists():
                return True
            self.set(phase=PodRow.Phase.DRAINING)
        return False


def resident_mb() -> int:
    """What this process has in the machine's memory, with those that its engine has started."""
    resident = psutil.Process().memory_info().rss
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            resident += process.memory_info().rss
    return int(resident // 1_000_000)


def give_way() -> None:
    """Let the web process and the servers go first."""
    os.nice(NICENESS)
    # A pod has a session of its own, and Linux may share the CPU between sessions: then it looks
    # at niceness only inside of one, and at this between them (sched(7), autogroup).
    with suppress(OSError):
        AUTOGROUP.write_text(str(NICENESS))


def run(pod_id: uuid.UUID, card: Card) -> int:
    """Be the pod `pod_id`; returns the process's exit status.

    A model that can't be loaded ends here: the reason goes to the deployment.
    """
    give_way()
    try:
        pod = Pod(pod_id, card)
        try:
            pod.load()
        except InferenceError as error:
            log.error("%s can't be loaded: %s", card.id, error.message)
            deployments.record_failure(pod.deployment, error.message, retryable=error.retryable)
            return LOAD_FAILED
    except (OperationalError, InterfaceError) as error:
        log.warning("%s is not loaded, the database is away: %s", card.id, error)
        return DATABASE_AWAY
    pod.serve()
    return 0
