"""What is done to a running system: kill -9, SIGSTOP, FLUSHALL, a full disk."""

import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from modelpilot import embedded
from tests.chaos.breaking import kill_server, pods
from tests.chaos.database import LEASE_S, Watcher
from tests.leftovers import eventually
from tests.system import System

# A frozen pod is thought dead after its lease, and comes back as a zombie.
FROZEN_S = LEASE_S + 4
FULL_S = 6.0
DISK_MB = 16


@dataclass
class Faults:
    """One system's tormentor. Each method is one fault."""

    system: System
    watcher: Watcher
    random: random.Random
    # Where outputs are kept, when that is a small disk of its own; None where none can be made.
    disk: Path | None
    # Called while Valkey is away.
    meanwhile: Callable[[], None]
    away_s: float
    done: Counter[str] = field(default_factory=Counter)
    # How many executions the faults have wasted at most.
    taken: int = 0
    threads: list[threading.Thread] = field(default_factory=list)

    def deck(self) -> list[str]:
        """The faults of three minutes, in an order of their own."""
        counts = {
            "kill a pod": 10,
            "kill Valkey": 2,
            "kill the web": 2,
            "kill housekeeping": 2,
            "kill PostgreSQL": 3,
            "kill the node": 1,
            "freeze a pod": 3,
            "flush Valkey": 2,
            "fill the disk": 1 if self.disk else 0,
        }
        deck = [name for name, count in counts.items() for _ in range(count)]
        self.random.shuffle(deck)
        # Zombies need their lease's time, and a long absence belongs between other things.
        middle = len(deck) // 2
        return ["freeze node and pod", *deck[:middle], "Valkey stays away", *deck[middle:]]

    def do(self, name: str) -> None:
        work: dict[str, Callable[[], bool]] = {
            "kill a pod": self.kill_pod,
            "kill Valkey": lambda: self.kill_server("valkey"),
            "kill PostgreSQL": lambda: self.kill_server("postgres"),
            "kill the web": lambda: self.kill_part("web"),
            "kill housekeeping": lambda: self.kill_part("housekeeping"),
            "kill the node": self.kill_node,
            "freeze a pod": lambda: self.freeze(with_node=False),
            "freeze node and pod": lambda: self.freeze(with_node=True),
            "flush Valkey": self.flush,
            "Valkey stays away": self.valkey_away,
            "fill the disk": self.fill_disk,
        }
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if work[name]():
                self.done[name] += 1

    def some_pod(self) -> psutil.Process | None:
        found = [pod for pod in pods(self.system) if pod.status() != psutil.STATUS_STOPPED]
        return self.random.choice(found) if found else None

    def takes(self, pod: psutil.Process | None) -> None:
        """What this pod (None: every pod) works on will be done again."""
        names = None if pod is None else [pod.cmdline()[-1]]
        self.taken += self.watcher.takes(names)

    def kill_pod(self) -> bool:
        pod = self.some_pod()
        if pod is None:
            return False
        self.takes(pod)
        pod.kill()
        return True

    def kill_node(self) -> bool:
        self.takes(None)
        return self.kill_part("node")

    def kill_part(self, name: str) -> bool:
        part = self.system.child(name)
        if part is not None:
            part.kill()
        return part is not None

    def kill_server(self, name: str) -> bool:
        with suppress(FileNotFoundError, ValueError):
            kill_server(self.system, name)
            return True
        return False

    def freeze(self, *, with_node: bool) -> bool:
        """Beyond its lease. Without its node nobody kills it, and it comes back as a zombie."""
        frozen = [pod for pod in [self.some_pod()] if pod is not None]
        if not frozen:
            return False
        self.takes(frozen[0])
        node = self.system.child("node") if with_node else None
        for process in (part := [*frozen, *([node] if node else [])]):
            process.suspend()

        def thaw() -> None:
            time.sleep(FROZEN_S)
            for process in part:
                with suppress(psutil.Error):
                    process.resume()

        self.in_background(thaw)
        return True

    def flush(self) -> bool:
        with suppress(redis.RedisError):
            redis.Redis.from_url(embedded.redis_url(self.system.data)).flushall()
            return True
        return False

    def valkey_away(self) -> bool:
        """It is killed whenever it comes back; jobs go on being taken."""
        until = time.monotonic() + self.away_s
        asking = threading.Thread(target=self.meanwhile)
        self.kill_server("valkey")
        asking.start()
        while time.monotonic() < until:
            with suppress(ProcessLookupError):
                self.kill_server("valkey")
            time.sleep(0.2)
        asking.join()
        return True

    def fill_disk(self) -> bool:
        assert self.disk is not None
        filler = self.disk / "filler"

        def free() -> None:
            time.sleep(FULL_S)
            filler.unlink()

        with suppress(OSError), open(filler, "wb") as file:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        self.in_background(free)
        return True

    def in_background(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        self.threads.append(thread)

    def over(self) -> None:
        """Wait until all that was frozen or full is as before."""
        for thread in self.threads:
            thread.join()


def small_disk(folder: Path) -> Path | None:
    """A disk of its own at `folder`, which only root may make; None otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return None
    size = f"size={DISK_MB}m"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "chaos", str(folder)], capture_output=True, check=False
    )
    return folder if made.returncode == 0 else None


def unmount(folder: Path) -> None:
    def gone() -> bool:
        return subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0

    eventually(gone, 20)
