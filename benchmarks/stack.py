"""A whole ModelPilot of its own, in a temporary folder and on a free port, for measuring."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

ROOT = Path(__file__).resolve().parents[1]
CARDS = Path(__file__).with_name("echo.toml")
EMAIL = "bench@localhost"
CREDIT = "1000.00"
STOP_S = 100.0

# How the parts of a stack are called in our tables, and what a command line of each says.
PARTS = {
    "web": "modelpilot.asgi:application",
    "pod": "manage.py pod",
    "node": "manage.py node",
    "housekeeping": "-m celery",
    "PostgreSQL": "postgres -D",
    "Valkey": "valkey-server",
    "keepers": "modelpilot.keeper",
    "up": "manage.py up",
}


class BenchmarkError(Exception):
    """Said to the person as it is, without a traceback."""


@dataclass
class Stack:
    data: Path
    port: int
    environment: Mapping[str, str]
    process: "subprocess.Popen[str]"
    key: str = ""

    def manage(self, *arguments: str) -> str:
        """What a `manage.py` command on this stack prints; BenchmarkError if it fails."""
        return self.python("manage.py", *arguments)

    def python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchmarkError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def post(self, path: str, body: dict[str, object], timeout_s: float = 300.0) -> bytes:
        """One plain call, for what is not measured; BenchmarkError if it is not a 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", path, orjson.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        except OSError as error:
            raise BenchmarkError(f"The server does not answer: {error}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise BenchmarkError(f"{path} answers {response.status}: {answer.decode()[:500]}")
        return answer

    def processes(self) -> dict[str, list[psutil.Process]]:
        """All live processes of this stack, by part."""
        up = psutil.Process(self.process.pid)
        parts: dict[str, list[psutil.Process]] = {}
        for process in [up, *up.children(recursive=True)]:
            try:
                part = part_of(process)
            except psutil.NoSuchProcess:
                continue
            parts.setdefault(part, []).append(process)
        return parts

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds that each part has used so far, its ended children included."""
        return {
            part: sum(map(cpu_seconds, processes)) for part, processes in self.processes().items()
        }


def part_of(process: psutil.Process) -> str:
    """PostgreSQL's backends have titles instead of command lines: then the parent's part."""
    line = " ".join(process.cmdline())
    for part, words in PARTS.items():
        if words in line:
            return part
    parent = process.parent()
    return part_of(parent) if parent is not None and parent.pid > 1 else "other"


def cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # Only PostgreSQL's ended children belong to its own work; up's are parts themselves.
    ended = times.children_user + times.children_system if process.name() == "postgres" else 0.0
    return float(times.user + times.system + ended)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(*, keep_data: Path | None = None, **settings: str) -> Iterator[Stack]:
    """A stack with a staff account that has credit, stopped and deleted at the end."""
    data = keep_data or Path(tempfile.mkdtemp(prefix="mp-bench-"))
    data.mkdir(parents=True, exist_ok=True)
    port = free_port()
    ours = {name: value for name, value in os.environ.items() if not foreign(name)}
    environment = {
        **ours,
        "MODELPILOT_DATA": str(data),
        "MODELPILOT_PORT": str(port),
        "MODELPILOT_RATE_LIMIT": "1000000000/minute",
        "MODELPILOT_POLL_RATE_LIMIT": "1000000000/minute",
        "MODELPILOT_CATALOG": str(CARDS),
        **settings,
    }
    with open(data / "up.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    stack = Stack(data, port, environment, process)
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready"):
            raise BenchmarkError(f"The system did not start:\n{(data / 'up.log').read_text()}")
        stack.key = stack.manage("account", EMAIL, "--staff", "--credit", CREDIT).splitlines()[-1]
        yield stack
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
        if keep_data is None:
            shutil.rmtree(data, ignore_errors=True)


def foreign(name: str) -> bool:
    """Settings of some other ModelPilot that must not reach this one."""
    return name.startswith("MODELPILOT_") or name in ("DATABASE_URL", "REDIS_URL")


def terminated(*_: object) -> None:
    """SIGTERM ends a benchmark as Ctrl-C does, through every `finally`."""
    raise KeyboardInterrupt


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown, aligned; the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        aligned = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = [("-" * (width - 1) + ":") if i else "-" * width for i, width in enumerate(widths)]
    return "\n".join([line(header), line(rule), *map(line, rows)])
