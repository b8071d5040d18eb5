"""The whole product as its users have it: `manage.py up` in processes of its own.

`system` is one for the session; `product(...)` makes another for tests that break it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.leftovers import assert_nothing_runs

ROOT = Path(__file__).parent.parent
CATALOG = ROOT / "tests" / "inference" / "echo.toml"
STOP_S = 90.0
WORDS = {"web": "uvicorn", "node": "node", "housekeeping": "celery"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class System:
    data: Path
    env: dict[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.data.with_suffix(".log")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "MODELPILOT_DATA": str(self.data),
            "MODELPILOT_PORT": str(self.port),
            "MODELPILOT_LOG_LEVEL": "INFO",
            "MODELPILOT_CATALOG": str(CATALOG),
            "MODELPILOT_RATE_LIMIT": "1000000/minute",
            "MODELPILOT_POLL_RATE_LIMIT": "1000000/minute",
            "MODELPILOT_NODE": f"test-{self.port}",
            **self.env,
        }

    def start(self) -> "System":
        self.launch()
        self.wait_until_ready()
        return self

    def launch(self) -> None:
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        # `up` gives up by itself, and then this reads an empty line.
        line = self.process.stdout.readline()
        assert line == f"ready {self.base_url}\n", self.said()

    def said(self) -> str:
        return self.log.read_text()

    def child(self, name: str) -> psutil.Process | None:
        """The process of that part ("web", "node" or "housekeeping"), as it is now."""
        for child in psutil.Process(self.pid).children():
            with suppress(psutil.Error):
                if WORDS[name] in child.cmdline():
                    return child
        return None

    def manage(self, *arguments: str) -> str:
        """What `manage.py …` prints beside the running product."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def account(self, email: str, credit: str = "0", **options: str | bool) -> str:
        """An account's new key; `staff=True`, `permissions="proxy"` as the command has them."""
        words = [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in options.items()
            if value is not False
        ]
        return self.manage("account", email, f"--credit={credit}", *words).split()[-1]

    def accounts(self, emails: list[str], credit: str = "0") -> list[str]:
        """Many at once, in one process: their new keys."""
        program = (
            "from django.core.management import call_command\n"
            f"for email in {emails}:\n"
            f"    call_command('account', email, '--credit={credit}')\n"
        )
        printed = self.manage("shell", "-v0", "-c", program)
        keys = [line for line in printed.splitlines() if line.startswith("mp_live_")]
        assert len(keys) == len(emails), printed
        return keys

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it as its user would, and be sure that nothing stays and all was said politely."""
        process = self.process
        if process is None:
            return
        self.process = None
        process.send_signal(number)
        try:
            rest, _ = process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert_nothing_runs(self.data)
        assert (process.returncode, rest) == (0, ""), self.said()

    def kill(self) -> None:
        """kill -9: all that it started must follow by itself."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate()
        assert_nothing_runs(self.data, within_s=60)


@contextmanager
def product(**env: str) -> Iterator[System]:
    """A product of its own, not started yet."""
    folder = Path(tempfile.mkdtemp(prefix="mp-up-"))
    system = System(folder / "data", env)
    try:
        yield system
    finally:
        try:
            system.stop()
        finally:
            system.kill()
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    with product() as system:
        yield system.start()
