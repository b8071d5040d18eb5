"""LiteLLM's proxy and this platform in one run: `bench.py beside --litellm PROGRAM`.

The same clients send both the same requests, in turns. LiteLLM runs as it is installed, with
one worker, without a database, so without accounts, holds or bills; behind it is a server that
costs nothing. Ours does all that it always does, pod, PostgreSQL and Valkey on the same cores.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import uvloop

from benchmarks import load
from benchmarks.stack import ROOT, BenchmarkError, Stack, free_port, table

MODELS = ("echo:fast", "echo:paced")
MASTER_KEY = "sk-bench"
START_S = 120.0
WARM_UP_S = 2.0
ROUNDS = 2


@dataclass(frozen=True)
class Side:
    """One of the two: where it answers, and the CPU seconds that its web process has used."""

    port: int
    key: str
    cpu_s: Callable[[], float]


@dataclass
class Score:
    """What one side did in its turns of one cell."""

    requests: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    errors: int = 0

    @property
    def rate(self) -> float:
        return self.requests / max(self.seconds, 1e-9)

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu_s / max(self.requests, 1)


def benchmark(system: Stack, arguments: argparse.Namespace) -> int:
    """Print the table; returns the number of wrong answers."""
    if arguments.litellm is None:
        raise BenchmarkError("Name LiteLLM's program: --litellm VENV/bin/litellm (see README.md).")
    header = "answers|clients|LiteLLM req/s|ours req/s|ratio|LiteLLM ms|our web ms".split("|")
    rows, errors = [], 0
    us = Side(system.port, system.key, lambda: system.cpu_s()["web"])
    with proxy(arguments.litellm) as other:
        for model in MODELS:
            for clients in arguments.clients:
                ours, theirs = Score(), Score()
                for _ in range(ROUNDS):
                    seconds = arguments.seconds / ROUNDS
                    play(theirs, other, model, clients, seconds)
                    play(ours, us, model, clients, seconds)
                errors += ours.errors + theirs.errors
                rows.append(
                    [
                        f"{model.removeprefix('echo:')}, streamed",
                        str(clients),
                        f"{theirs.rate:.0f}",
                        f"{ours.rate:.0f}",
                        f"{ours.rate / max(theirs.rate, 1e-9):.1f}",
                        f"{theirs.cpu_ms:.2f}",
                        f"{ours.cpu_ms:.2f}",
                    ]
                )
    print(f"\nBeside LiteLLM {version(arguments.litellm)}, ms of CPU for each request:\n")
    print(table(header, rows))
    print(f"\nWrong answers: {errors}.")
    return errors


def play(score: Score, side: Side, model: str, clients: int, seconds: float) -> None:
    """One turn, after a short one that doesn't count."""
    drive(side, model, clients, WARM_UP_S)
    before = side.cpu_s()
    tally = drive(side, model, clients, seconds)
    score.cpu_s += side.cpu_s() - before
    score.requests += tally.count
    score.seconds += tally.elapsed_s
    score.errors += len(tally.errors)
    for error in tally.errors[:2]:
        print(error, file=sys.stderr)


def drive(side: Side, model: str, clients: int, seconds: float) -> load.Tally:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(
            load.generate(side.port, side.key, model, clients=clients, stream=True, seconds=seconds)
        )


@contextmanager
def proxy(program: Path) -> Iterator[Side]:
    """LiteLLM in front of our plain upstream, both stopped at the end."""
    port, behind = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(configuration(behind))
        with open(Path(folder) / "log", "w+") as log:
            upstream = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.upstream", str(behind)], cwd=ROOT
            )
            litellm = subprocess.Popen(
                [program, "--config", config, "--host", "127.0.0.1", "--port", str(port),
                 "--num_workers", "1", "--telemetry", "False"],
                cwd=folder,
                env={**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                stdout=log,
                stderr=log,
            )  # fmt: skip
            try:
                wait_for(port, litellm, Path(folder) / "log")
                yield Side(port, MASTER_KEY, partial(tree_cpu_s, psutil.Process(litellm.pid)))
            finally:
                for process in (litellm, upstream):
                    process.terminate()
                    process.wait(30)


def tree_cpu_s(process: psutil.Process) -> float:
    times = [part.cpu_times() for part in (process, *process.children(recursive=True))]
    return sum(float(time.user + time.system) for time in times)


def configuration(behind: int) -> str:
    entries = [
        f"  - model_name: {model}\n"
        "    litellm_params:\n"
        f"      model: openai/{model}\n"
        f"      api_base: http://127.0.0.1:{behind}/v1\n"
        "      api_key: none\n"
        for model in MODELS
    ]
    return f"model_list:\n{''.join(entries)}general_settings:\n  master_key: {MASTER_KEY}\n"


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise BenchmarkError(f"LiteLLM did not start:\n{log.read_text()[-3000:]}")


def version(program: Path) -> str:
    python = program.with_name("python")
    code = "import importlib.metadata; print(importlib.metadata.version('litellm'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
