"""A child process that is kept: `up` has three of them, a node has one per pod.

Every child leads its own session, so that Ctrl-C in the terminal reaches only us and a whole
child can be ended as a group. On Linux it gets SIGTERM when the thread that started it dies,
so kill -9 of the parent leaves nothing behind: start children from a thread that stays.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# Run in between fork and the real program. Not a `preexec_fn`: that runs Python in a fork of
# a process with threads, where any lock may be held for ever. It looks at its parent after
# asking for the signal, as the parent may have died before.
FOLLOW_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
HEALTHY_S = 60.0


@dataclass
class Backoff:
    """How long to wait before the next try: doubled each time, forgotten after a good minute."""

    pause: float = 0.0

    def after(self, lived: float) -> float:
        doubled = min(LONGEST_PAUSE_S, self.pause * 2) if lived < HEALTHY_S else 0.0
        self.pause = doubled or FIRST_PAUSE_S
        return self.pause


@dataclass
class Child:
    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    backoff: Backoff = field(default_factory=Backoff)
    status: int | None = None
    _process: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0
    _start_again_at: float | None = None
    _terminated: bool = False

    def start(self) -> None:
        follow = (sys.executable, "-I", "-S", "-c", FOLLOW_PARENT, str(os.getpid()))
        self._process = subprocess.Popen(
            [*(follow if sys.platform == "linux" else ()), *self.argv],
            env=self.env,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            # Our own stdout says when we are ready, and nothing else.
            stdout=sys.stderr.fileno(),
            start_new_session=True,
        )
        self.status = None
        self._started_at = time.monotonic()
        self._start_again_at = None
        self._terminated = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def poll(self) -> int | None:
        """How it ended (negative: by which signal), or None while it runs."""
        if self._process is not None and self._process.poll() is not None:
            self._bury(self._process)
        return self.status

    def tend(self) -> int | None:
        """Start it again once its pause is over; returns how it ended, once per death."""
        ended = self.poll()
        if ended is None:
            return None
        now = time.monotonic()
        if self._start_again_at is None:
            self._start_again_at = now + self.backoff.after(now - self._started_at)
            return ended
        if now >= self._start_again_at:
            self.start()
        return None

    def terminate(self) -> None:
        """Ask it, once, to end itself and its children (many take a second time as hurry)."""
        if self.poll() is None and self._process is not None and not self._terminated:
            self._terminated = True
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._bury(self._process)

    def stop(self, grace_s: float, hurried: Callable[[], bool] = lambda: False) -> int | None:
        """SIGTERM, and SIGKILL when the grace is over or there is hurry; returns how it ended."""
        self.terminate()
        deadline = time.monotonic() + grace_s
        while self.poll() is None and self._process is not None:
            if hurried() or time.monotonic() > deadline:
                self.kill()
            else:
                time.sleep(0.02)
        return self.status

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        # What it started and left behind would be in the way of the next one.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self.status = process.returncode
        self._process = None
