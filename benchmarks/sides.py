"""Who answers in benchmarks/throughput.py: this platform, its bare engines, and other servers."""

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil

from benchmarks import stack
from benchmarks.bare import DATA
from benchmarks.conversation import Reply, ask
from benchmarks.stack import ROOT, BenchmarkError, Stack, free_port

CARDS = Path(__file__).with_name("text.toml")
MODELS = ("smollm2-135m", "smollm2-bfloat16")
TOKENS = 64
START_S = 240.0
# transformers takes 60 % of the memory for its cache, and each of its steps costs as much as that
# is large: this is room for 32 answers.
CACHE = ["--cb-num-blocks", "192", "--cb-block-size", "32", "--cb-max-batch-tokens", "256"]
THEMES = (
    "a lighthouse keeper, a lost key, a winter market, two rivers, an old train, the last orchard, "
    "a borrowed violin, a map of clouds, the night baker, a paper boat, a stubborn goat, a blue "
    "door, the clockmaker, a desert well, a quiet harbour, a garden wall"
).split(", ")


# Plays one turn: so many clients, each asking so often, from that number of question on.
Turn = Callable[[int, int, int], tuple[list[Reply], float]]


@dataclass(frozen=True)
class Side:
    name: str
    turn: Turn
    # CPU seconds used so far, by part.
    used: Callable[[], dict[str, float]]
    # None where all is ours.
    process: int | None = None

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Some servers spin while they wait: only the one whose turn it is may run."""
        self.each(psutil.Process.resume)
        try:
            yield
        finally:
            self.each(psutil.Process.suspend)

    def each(self, act: Callable[[psutil.Process], None]) -> None:
        for process in family(self.process) if self.process is not None else ():
            act(process)


def family(pid: int) -> list[psutil.Process]:
    """The process and all below it; none if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def used_by(pid: int) -> Callable[[], dict[str, float]]:
    return lambda: {"all": sum(map(stack.cpu_seconds, family(pid)))}


def question(number: int) -> str:
    """A prompt that no other request of the run begins like, so that no prefix is known before."""
    theme = THEMES[number % len(THEMES)]
    return f"Number {number}: write a long story about {theme}, with many details."


def over_http(port: int, key: str, model: str) -> Turn:
    def turn(clients: int, each: int, first: int) -> tuple[list[Reply], float]:
        return asyncio.run(crowd(port, key, model, clients, each, first))

    return turn


async def crowd(
    port: int, key: str, model: str, clients: int, each: int, first: int
) -> tuple[list[Reply], float]:
    async def client(number: int) -> list[Reply]:
        start = first + number * each
        return [await ask(port, key, model, question(start + i), TOKENS) for i in range(each)]

    begun = time.perf_counter()
    answers = await asyncio.gather(*(client(number) for number in range(clients)))
    return [reply for replies in answers for reply in replies], time.perf_counter() - begun


# Each side has a session of its own, as a pod has: Linux shares the CPU between sessions.


@contextmanager
def bare(model: str, cores: set[int]) -> Iterator[Side]:
    """Our engine alone in a process of its own, on these cores."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare", model, str(CARDS)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.sched_setaffinity(process.pid, cores)
    assert process.stdin is not None
    stdin = process.stdin

    def turn(clients: int, each: int, first: int) -> tuple[list[Reply], float]:
        prompts = [[question(first + c * each + i) for i in range(each)] for c in range(clients)]
        stdin.write(orjson.dumps({"prompts": prompts, "tokens": TOKENS}).decode() + "\n")
        stdin.flush()
        said = answer_of(process)
        return [Reply("", *reply) for reply in said["replies"]], said["seconds"]

    try:
        answer_of(process)
        yield Side(f"bare engine, {model}", turn, used_by(process.pid), process.pid)
    finally:
        process.send_signal(signal.SIGCONT)
        stdin.close()
        process.wait(30)


def answer_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchmarkError("The bare engine ended; what it said is above.")
    answer: dict[str, Any] = orjson.loads(line)
    return answer


@contextmanager
def server(command: list[str], port: int, **environment: str) -> Iterator[int]:
    """Another program that listens on `port`, stopped at the end; its process id."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_for(process, port, log)
            yield process.pid
        finally:
            for one in family(process.pid):
                one.resume()
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Until /health answers 200."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        if asyncio.run(healthy(port)):
            return
        time.sleep(0.5)
    raise BenchmarkError(f"{process.args!r} did not start:\n{log.read_text()[-3000:]}")


async def healthy(port: int) -> bool:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in line


def set_apart(system: Stack) -> set[int]:
    """Leave the first core to engines, and bring all else, this process too, to the second.

    Pods inherit it from their node: there may be none yet. Returns the engines' core.
    """
    first, second, *_ = sorted(os.sched_getaffinity(0))
    for part, processes in system.processes().items():
        for process in processes:
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {first if part == "node" else second})
    os.sched_setaffinity(0, {second})
    return {first}


@contextmanager
def sides(arguments: argparse.Namespace, system: Stack) -> Iterator[list[Side]]:
    """All that are there, ready to answer."""
    with ExitStack() as running:
        cores = set_apart(system) if arguments.apart else os.sched_getaffinity(0)
        found = []
        for model in [arguments.only] if arguments.only else MODELS:
            through = over_http(system.port, system.key, model)
            found.append(Side(f"through us, {model}", through, system.cpu_s))
            found.append(running.enter_context(bare(model, cores)))
        if arguments.only:
            yield found
            return
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.llamacpp_server", str(port)]
        process = running.enter_context(server(command, port, PYTHONPATH=str(ROOT)))
        found.append(rival("llama.cpp's server", port, "default", process))
        # Made by our engine a moment ago.
        weights = str(next((DATA / "cache" / "converted").glob("*-bfloat16")).resolve())
        if arguments.transformers:
            port = free_port()
            process = running.enter_context(
                server(
                    [str(arguments.transformers), "serve", weights, "--continuous-batching",
                     "--host", "127.0.0.1", "--port", str(port), "--device", "cpu",
                     "--dtype", "bfloat16", *CACHE, *arguments.transformers_options],
                    port,
                )
            )  # fmt: skip
            found.append(rival("transformers serve", port, weights, process))
        if arguments.vllm:
            port = free_port()
            process = running.enter_context(
                server(
                    [str(arguments.vllm), "serve", weights, "--host", "127.0.0.1", "--port",
                     str(port), "--dtype", "bfloat16", "--max-model-len", "2048",
                     "--no-enable-log-requests"],
                    port,
                    VLLM_CPU_KVCACHE_SPACE="2",
                )
            )  # fmt: skip
            found.append(rival("vLLM on the CPU", port, weights, process))
        yield found


def rival(name: str, port: int, model: str, process: int) -> Side:
    return Side(name, over_http(port, "none", model), used_by(process), process)
