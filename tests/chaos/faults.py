"""What is done to a running system: kill -9, SIGSTOP, FLUSHALL, a full disk."""

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import redis

from modelpilot import embedded
from tests.chaos.breaking import kill_server, pods
from tests.chaos.database import LEASE_S, PODS, Watcher, rows
from tests.chaos.deck import Fault
from tests.leftovers import eventually, processes
from tests.system import System

# A frozen pod has lost its jobs by then: its lease is over, and a rescuer has looked.
FROZEN_S = LEASE_S + 7
# Before its node takes it for dead and kills it, that stands still too; and a little longer than
# the pod, which is to come back as a zombie.
NODE_FROZEN_S = (LEASE_S - 6, FROZEN_S + 3)
# How long to wait for a pod that is to be killed.
PATIENCE_S = 25.0
FULL_S = 6.0
DISK_MB = 16


@dataclass
class Faults:
    """One system's tormentor. Each method is one fault; it answers whether it could be done."""

    system: System
    watcher: Watcher
    # Where outputs are kept.
    outputs: Path
    # Called while Valkey is away, for `away_s`.
    meanwhile: Callable[[], None]
    away_s: float
    done: Counter[str] = field(default_factory=Counter)
    # Faults that found nobody to meet.
    missed: list[str] = field(default_factory=list)
    # Frozen pods that came back after they had lost their jobs.
    zombies: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    def do(self, fault: Fault) -> None:
        work: dict[str, Callable[[], bool]] = {
            "kill a pod": lambda: self.kill_pod(fault.model),
            "kill Valkey": lambda: self.kill_server("valkey"),
            "kill PostgreSQL": self.kill_postgres,
            "kill the web": lambda: self.kill_part("web"),
            "kill housekeeping": lambda: self.kill_part("housekeeping"),
            "kill the node": self.kill_node,
            "freeze a pod": lambda: self.freeze(fault.model),
            "freeze a pod, kill its node": lambda: self.freeze(fault.model, node_dies=True),
            "flush Valkey": self.flush,
            "Valkey stays away": self.valkey_away,
            "fill the disk": self.fill_disk,
        }
        done = False
        with suppress(psutil.Error, ProcessLookupError):
            done = work[fault.name]()
        if done:
            self.done[fault.name] += 1
        else:
            self.missed.append(str(fault))

    # Pods

    def pod_of(self, model: str) -> psutil.Process | None:
        """One that runs and serves, of this model; of any, where there is none for a while."""
        until = time.monotonic() + PATIENCE_S
        while True:
            serving: dict[str, str] = {}
            with suppress(psycopg.Error):
                serving = {row["id"]: row["model"] for row in rows(self.system.data, PODS)}
            found = [pod for pod in awake(self.system) if serving.get(name_of(pod)) == model]
            if found:
                return found[0]
            if time.monotonic() > until:
                return next((pod for pod in awake(self.system) if name_of(pod) in serving), None)
            time.sleep(0.3)

    def kill_pod(self, model: str) -> bool:
        pod = self.pod_of(model)
        if pod is None:
            return False
        with self.watcher.taking([name_of(pod)]):
            pod.kill()
        return True

    def freeze(self, model: str, *, node_dies: bool = False) -> bool:
        """Beyond its lease, so that it comes back as a zombie.

        Its node would kill it before, so that stands still for a while, or dies: then a new one
        gives up a pod that it never knew.
        """
        pod = self.pod_of(model)
        if pod is None:
            return False
        with self.watcher.taking([name_of(pod)]):
            pod.suspend()
        if node_dies:
            self.kill_node()

        def thaw() -> None:
            began = time.monotonic()
            node = None if node_dies else self.system.child("node")
            if node is not None:
                time.sleep(NODE_FROZEN_S[0])
                with suppress(psutil.Error):
                    node.suspend()
                    self.watcher.node_frozen.append((time.monotonic(), began + NODE_FROZEN_S[1]))
            time.sleep(max(0.0, began + FROZEN_S - time.monotonic()))
            with suppress(psutil.Error):
                pod.resume()
                self.zombies += pod.is_running()
            if node is not None:
                time.sleep(max(0.0, began + NODE_FROZEN_S[1] - time.monotonic()))
                with suppress(psutil.Error):
                    node.resume()

        self.in_background(thaw)
        return True

    # Parts and servers

    def kill_node(self) -> bool:
        """Its pods finish what they can within their time, and give the rest back."""
        # They go on claiming until they see it.
        self.watcher.met.update(map(name_of, pods(self.system)))
        with self.watcher.taking(None):
            return self.kill_part("node")

    def kill_part(self, name: str) -> bool:
        """Once it is there: `up` may just be starting it again."""
        with suppress(AssertionError):
            eventually(lambda: self.system.child(name) is not None, PATIENCE_S)
        part = self.system.child(name)
        if part is None:
            return False
        part.kill()
        return True

    def kill_server(self, name: str) -> bool:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(FileNotFoundError, ValueError, ProcessLookupError):
                kill_server(self.system, name)
                return True
            time.sleep(0.1)
        return False

    def kill_postgres(self) -> bool:
        killed = self.kill_server("postgres")
        self.watcher.note_claims(time.monotonic())
        return killed

    def flush(self) -> bool:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(redis.RedisError), valkey(self.system) as client:
                client.flushall()
                return True
            time.sleep(0.1)
        return False

    def valkey_away(self) -> bool:
        """Nobody restarts it for a while; jobs go on being taken."""
        asking = threading.Thread(target=self.meanwhile, daemon=True)
        with no_keeper(self.system, "valkey"):
            killed = self.kill_server("valkey")
            asking.start()
            time.sleep(self.away_s)
        asking.join()
        return killed

    def fill_disk(self) -> bool:
        """Nothing more can be written where outputs go."""
        make_room = fill(self.outputs)
        if make_room is None:
            return False

        def free() -> None:
            time.sleep(FULL_S)
            make_room()

        self.in_background(free)
        return True

    def in_background(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)

    def over(self) -> None:
        """Wait until all that was frozen or full is as before."""
        for thread in self.threads:
            thread.join()


def name_of(pod: psutil.Process) -> str:
    """The pod's id: the last word of its command."""
    with suppress(psutil.Error, IndexError):
        return pod.cmdline()[-1]
    return ""


def awake(system: System) -> list[psutil.Process]:
    found = []
    for pod in pods(system):
        with suppress(psutil.Error):
            if pod.status() != psutil.STATUS_STOPPED:
                found.append(pod)
    return found


def valkey(system: System) -> redis.Redis:
    return redis.Redis.from_url(embedded.redis_url(system.data))


@contextmanager
def no_keeper(system: System, name: str) -> Iterator[None]:
    """The keeper of "valkey" or "postgres" stands still: who dies meanwhile stays dead."""
    [keeper] = [
        process
        for process in processes(system.data)
        if process.cmdline()[2:4] == ["modelpilot.keeper", name]
    ]
    keeper.suspend()
    try:
        yield
    finally:
        keeper.resume()


def small_disk(folder: Path) -> bool:
    """Make a small disk of its own at `folder`, if we may: only root does."""
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={DISK_MB}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "chaos", str(folder)]
    return os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0


def fill(folder: Path) -> Callable[[], None] | None:
    """Fill a small disk; whoever is not root shuts the folder instead, which fails like it.
    Returns what undoes that; None where root may not mount, and no folder is shut to root."""
    if not folder.is_mount():
        if os.geteuid() == 0:
            return None
        folder.chmod(0o500)
        return lambda: folder.chmod(0o700)
    filler = folder / "filler"
    with suppress(OSError), open(filler, "wb") as file:
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    return filler.unlink


def unmount(folder: Path) -> None:
    def gone() -> bool:
        return subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0

    eventually(gone, 20)
