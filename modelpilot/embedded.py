"""PostgreSQL and Valkey under the data directory, from the programs that two wheels carry.

A server belongs to nobody in particular. Every process that needs it holds a shared lock, and
a keeper (`keeper.py`, one small process per server) starts it, restarts it when it dies, and
stops it when the last lock is gone, whichever way its holder went. So there is never a second
server on the same data, one command cannot stop the server under another, and a killed `up`
leaves nothing behind.

Both listen on unix sockets only, whose addresses are known before anything runs.
"""

import fcntl
import hashlib
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

Name = Literal["postgres", "valkey"]

TITLES: dict[Name, str] = {"postgres": "PostgreSQL", "valkey": "Valkey"}
SOCKETS: dict[Name, str] = {"postgres": ".s.PGSQL.5432", "valkey": "valkey.sock"}
# A unix socket's path may have 107 bytes on Linux and 103 elsewhere.
LONGEST_SOCKET = 103
# Crash recovery of a busy PostgreSQL may take a minute.
START_S = 120.0
STOP_S = 100.0
RETRY_S = 5.0
STARTING_UP = b"C57P03\0"
# Where initdb finds a shell, and root finds useradd.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ServerError(RuntimeError):
    """An embedded server did not start."""


class Settings(Protocol):
    DATA: Path
    EMBEDDED_POSTGRES: bool
    EMBEDDED_VALKEY: bool


@dataclass(frozen=True)
class Place:
    """Where one server lives; the lock and log files say who keeps it and who uses it."""

    data: Path
    name: Name

    @property
    def folder(self) -> Path:
        return self.data / self.name

    @property
    def sockets(self) -> Path:
        """The server's own folder, or a private one with a short name where that is too long."""
        if len(os.fsencode(self.folder / SOCKETS[self.name])) <= LONGEST_SOCKET:
            return self.folder
        key = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        # Not tempfile.gettempdir(): two commands with another TMPDIR must find the same server.
        return Path("/tmp") / f"modelpilot-{key}"  # noqa: S108

    @property
    def socket(self) -> Path:
        return self.sockets / SOCKETS[self.name]

    def file(self, suffix: Literal["keeper", "users", "pid", "log"]) -> Path:
        return self.data / "run" / f"{self.name}.{suffix}"


def database_url(data: Path) -> str:
    return f"postgresql://postgres@/modelpilot?host={quote(str(Place(data, 'postgres').sockets))}"


def redis_url(data: Path) -> str:
    return f"unix://{quote(str(Place(data, 'valkey').socket))}?db=0"


def answers(place: Place) -> bool:
    """Whether the server takes work now: not starting, loading or recovering."""
    question, goodbye = b"PING\r\n", b"QUIT\r\n"
    if place.name == "postgres":
        words = b"user\0postgres\0database\0modelpilot\0\0"
        question = struct.pack("!ii", len(words) + 8, 3 << 16) + words
        goodbye = b"X\0\0\0\4"
    reply = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2.0)
        connection.connect(str(place.socket))
        connection.sendall(question)
        reply = connection.recv(1024)
        # Leave as a client does, or the server's log fills with resets.
        connection.sendall(goodbye)
        while connection.recv(1024):
            pass
    if place.name == "valkey":
        return reply.startswith(b"+PONG")
    # Any other refusal ("too many clients") comes from a server that is up.
    return bool(reply) and STARTING_UP not in reply


def try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Share:
    """This process's share in one server."""

    def __init__(self, place: Place, durable: bool) -> None:
        self.place = place
        self.durable = durable
        self._lock: int | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._retry_at = 0.0

    def take(self) -> None:
        """Hold the server open; whoever comes while it is being stopped waits for that."""
        self._retry_at = 0.0
        self.place.file("users").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = os.open(self.place.file("users"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def kept(self) -> bool:
        with opened(self.place.file("keeper")) as descriptor:
            return not try_lock(descriptor, fcntl.LOCK_SH)

    def pid(self) -> int | None:
        """The server's process, once it has answered."""
        try:
            return int(self.place.file("pid").read_text())
        except (OSError, ValueError):
            return None

    def ensure_kept(self) -> None:
        """Start a keeper where there is none; ServerError where ours has given up."""
        status = self._keeper.poll() if self._keeper else 0
        if status is None:
            return
        self._keeper = None
        if status > 0:
            self._retry_at = time.monotonic() + RETRY_S
            raise ServerError(self._reason())
        if time.monotonic() >= self._retry_at and not self.kept():
            self._keeper = self._spawn()

    def ready(self) -> bool:
        return self.pid() is not None and self.kept() and answers(self.place)

    def wait_until_ready(self, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while not self.ready():
            self.ensure_kept()
            if time.monotonic() > deadline:
                raise ServerError(self._reason())
            time.sleep(0.03)

    def release(self) -> bool:
        """Give the share back; False where the server stays because others use it."""
        if self._lock is None:
            return True
        os.close(self._lock)
        self._lock = None
        gone = self._wait_until_gone()
        if self._keeper is not None and self._keeper.poll() is None:
            if gone:
                self._keeper.wait()
            else:
                # It outlives us on purpose: not a child that we forgot to wait for.
                self._keeper.returncode = 0
        self._keeper = None
        return gone

    def _wait_until_gone(self) -> bool:
        deadline = time.monotonic() + STOP_S
        with opened(self.place.file("users")) as descriptor:
            while time.monotonic() < deadline:
                # While the keeper stops the server it holds this lock alone.
                if try_lock(descriptor, fcntl.LOCK_SH):
                    if not try_lock(descriptor, fcntl.LOCK_EX):
                        return False
                    if not self.kept():
                        return True
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                time.sleep(0.02)
        raise ServerError(f"{TITLES[self.place.name]} does not stop.")

    def _spawn(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "modelpilot.keeper", self.place.name, str(self.place.data)]
        with open(self.place.file("log"), "ab") as log:
            return subprocess.Popen(
                argv if self.durable else [*argv, "--not-durable"],
                cwd=Path(__file__).parent.parent,
                env={
                    # The servers need nothing of our environment, and it has our secrets.
                    "PATH": SYSTEM_PATH,
                    "LC_ALL": "C",
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Away from the terminal's Ctrl-C.
                start_new_session=True,
            )

    def _reason(self) -> str:
        log = self.place.file("log")
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        last = "\n".join(f"  {line}" for line in lines[-5:])
        return f"{TITLES[self.place.name]} did not start. The end of {log}:\n{last}"


class Servers:
    """The embedded servers that a process uses; `start` begins what is not running yet."""

    def __init__(
        self, data: Path, *, postgres: bool = True, valkey: bool = True, durable: bool = True
    ) -> None:
        names: list[Name] = []
        if postgres:
            names.append("postgres")
        if valkey:
            names.append("valkey")
        self.shares = {name: Share(Place(data, name), durable) for name in names}
        self._pids: dict[Name, int | None] = {}

    def start(self, patience_s: float = START_S) -> None:
        try:
            for share in self.shares.values():
                share.take()
                share.ensure_kept()
            for share in self.shares.values():
                share.wait_until_ready(patience_s)
        except BaseException:
            with suppress(ServerError):
                self.stop()
            raise
        self._pids = {**self.pids()}

    def stop(self) -> list[Name]:
        """Valkey, then PostgreSQL; returns those that stay because other commands use them."""
        return [name for name, share in reversed(self.shares.items()) if not share.release()]

    def pids(self) -> dict[Name, int]:
        """The servers that run now, and their processes."""
        found = {name: share.pid() for name, share in self.shares.items() if share.kept()}
        return {name: pid for name, pid in found.items() if pid is not None}

    def check(self) -> list[Name]:
        """Those that were restarted since the last look; a lost keeper is replaced."""
        for share in self.shares.values():
            # A server that can't start today may tomorrow, when the disk has room again.
            with suppress(ServerError):
                share.ensure_kept()
        now = self.pids()
        restarted = [name for name, pid in now.items() if pid != self._pids.get(name)]
        self._pids.update(now)
        return restarted


@contextmanager
def running(
    settings: Settings, *, valkey: bool = True, durable: bool = True, patience_s: float = START_S
) -> Iterator[Servers]:
    """The embedded servers that these settings name, for as long as the block runs."""
    servers = Servers(
        settings.DATA,
        postgres=settings.EMBEDDED_POSTGRES,
        valkey=settings.EMBEDDED_VALKEY and valkey,
        durable=durable,
    )
    servers.start(patience_s)
    try:
        yield servers
    finally:
        servers.stop()
