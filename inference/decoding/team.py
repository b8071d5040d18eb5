"""Processes that run one model together, each with its share; this one is the first of them.

It alone decides what a step is: it tells the others, runs its own share, and has the logits. If
one of them dies, the others can do nothing any more. They are told by pipes, and end with these:
however this process dies, none of them stays.
"""

import gc
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

from inference.decoding import rank, shares
from inference.decoding.runner import Runner
from inference.decoding.shares import Share
from inference.decoding.step import Step, packed
from inference.errors import EngineLost, InferenceError

log = logging.getLogger(__name__)

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
# How long processes may take to end, in seconds.
PATIENCE_S = 10.0


class Team:
    """A runner like any other, of a model that `of` processes share.

    A thread does this process's part: who works with a process that dies may wait for it for
    ever, and so may the thread, but nobody else.
    """

    def __init__(self, whole: Share, of: int) -> None:
        # It has no name, so that nothing is left of it whoever dies, and no stranger can open it.
        self._meeting = tempfile.TemporaryFile()  # noqa: SIM115
        self._others: list[Other] = []
        self._runner: Runner | None = None
        self._tasks: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._done: SimpleQueue[Any] = SimpleQueue()
        self._lost: EngineLost | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="share", daemon=True)
        self._thread.start()
        try:
            meeting = self._meeting.fileno()
            mine, *theirs = shares.parts(whole, of, meeting)
            stay_at_home()
            self._others = [Other(share, meeting, self._lose) for share in theirs]
            for other in self._others:
                other.begin()
            self._runner, self.pages = self._together(lambda: shares.load(mine))
        except BaseException:
            self.close()
            raise

    @property
    def model(self) -> Any:
        """This process's share."""
        assert self._runner is not None
        return self._runner.model

    @property
    def ahead(self) -> bool:
        """See Runner.ahead: it is awaited here, as nobody else may wait for the others."""
        return False

    def run(self, step: Step) -> torch.Tensor:
        """See Runner.run. Raises EngineLost, from the first failure on for ever."""
        message = packed(step)
        try:
            for other in self._others:
                other.tell(message)
            return self._together(lambda: self._step(step))
        except EngineLost:
            raise
        except Exception as error:
            # How far the others have come, nobody knows.
            raise self._lose(f"A step that {self} share has failed: {error}") from error

    def close(self) -> None:
        """End the other processes and let go of the model, also of one that is lost."""
        self._closing = True
        for other in self._others:
            other.dismiss()
        self._tasks.put(self._leave)
        self._tasks.put(None)
        self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            log.error("A thread still waits for a process that is gone.")
        for other in self._others:
            other.end()
        self._meeting.close()

    def __str__(self) -> str:
        return f"{len(self._others) + 1} processes"

    # The thread

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                done = task()
            except Exception as error:
                done = error
            self._done.put(done)
            del task, done

    def _together(self, task: Callable[[], T]) -> T:
        """What `task` comes to in the thread; raises EngineLost if a process dies meanwhile."""
        if self._lost is not None:
            raise self._lost
        self._tasks.put(task)
        done = self._done.get()
        if isinstance(done, Exception):
            raise done
        result: T = done
        return result

    def _step(self, step: Step) -> torch.Tensor:
        assert self._runner is not None
        with torch.inference_mode():
            logits = self._runner.run(step)
        if logits.is_cuda:
            # A GPU waits for the others where its numbers are used, which is not in this thread.
            torch.cuda.synchronize(logits.device)
        return logits

    def _leave(self) -> None:
        if self._runner is not None:
            self._runner.close()
        gc.collect()
        shares.part()

    def _lose(self, reason: str) -> EngineLost:
        if self._lost is None:
            self._lost = EngineLost(reason)
            if not self._closing:
                log.error("%s", reason)
            self._done.put(self._lost)
        return self._lost


class Other:
    """One of the other processes; `lose` is told when it ends by itself."""

    def __init__(self, share: Share, meeting: int, lose: Callable[[str], object]) -> None:
        self._share, self._lose = share, lose
        self._dismissed = False
        # transformers reads from LOCAL_RANK which GPU a process has.
        self._process = subprocess.Popen(
            ["env", f"LOCAL_RANK={share.device.index}", sys.executable, "-m", rank.__name__],
            cwd=ROOT,
            pass_fds=[meeting],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._ear, self._mouth = self._process.stdin, self._process.stdout
        threading.Thread(target=self._watch, name=f"{self} watched", daemon=True).start()

    def begin(self) -> None:
        """Let it load its share, once it is there; raises InferenceError if it can't start."""
        said = self._mouth.read(len(rank.READY))
        self._mouth.close()
        if said != rank.READY:
            raise InferenceError(f"{self} of the model could not start; the log says why.")
        self.tell(self._share.to_json().encode())

    def tell(self, message: bytes) -> None:
        """Send it a message; raises OSError if it is gone."""
        rank.write(self._ear, message)

    def dismiss(self) -> None:
        """Nothing more will come."""
        self._dismissed = True
        with suppress(OSError):
            self._ear.close()

    def end(self) -> None:
        """Wait until it has gone, and make it go if that takes long."""
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._mouth.close()

    def _watch(self) -> None:
        status = self._process.wait()
        if not self._dismissed:
            self._lose(f"{self} of the model has ended with status {status}.")

    def __str__(self) -> str:
        return f"Process {self._share.rank + 1} of {self._share.of}"


def stay_at_home() -> None:
    """Let the libraries beneath PyTorch connect processes by the loopback only."""
    for _, name in socket.if_nameindex():
        if name in ("lo", "lo0"):
            os.putenv("GLOO_SOCKET_IFNAME", name)
            os.putenv("NCCL_SOCKET_IFNAME", name)
