"""Text through this platform beside other servers and beside its own engines, in one run.

    python -m benchmarks.throughput [--transformers PROGRAM] [--vllm PROGRAM] [--clients 1,8,32]

The same SmolLM2 everywhere: llama.cpp reads the packaged GGUF (4 bits), the others the
safetensors that our engine `text_transformers` makes of it (bfloat16). Every side is up from the
start, and they are asked in turns, so that what else happens on this machine happens to all.
Through us means all of it: key, hold, job, events, settlement. See README.md beside this file
for the other programs.
"""

import argparse
import asyncio
import contextlib
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from benchmarks import stack
from benchmarks.bare import DATA
from benchmarks.conversation import Reply, ask
from benchmarks.stack import ROOT, BenchmarkError, Stack, free_port, table

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


@dataclass
class Score:
    """What one side did with so many clients, in all its turns."""

    tokens: int = 0
    seconds: float = 0.0
    first_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)

    def first_ms(self, percent: int) -> float:
        if len(self.first_s) < 2:
            return 1000 * sum(self.first_s)
        return 1000 * statistics.quantiles(self.first_s, n=100, method="inclusive")[percent - 1]


# Plays one turn: so many clients, each asking so often, from that number of question on.
Turn = Callable[[int, int, int], tuple[list[Reply], float]]


@dataclass(frozen=True)
class Side:
    name: str
    turn: Turn
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


@contextmanager
def bare(model: str) -> Iterator[Side]:
    """Our engine alone in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare", model, str(CARDS)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
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
        yield Side(f"bare engine, {model}", turn, process.pid)
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


@contextmanager
def sides(arguments: argparse.Namespace, system: Stack) -> Iterator[list[Side]]:
    """All that are there, ready to answer."""
    with ExitStack() as running:
        found = []
        for model in MODELS:
            found.append(Side(f"through us, {model}", over_http(system.port, system.key, model)))
            found.append(running.enter_context(bare(model)))
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.llamacpp_server", str(port)]
        process = running.enter_context(server(command, port, PYTHONPATH=str(ROOT)))
        found.append(Side("llama.cpp's server", over_http(port, "none", "default"), process))
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
            found.append(Side("transformers serve", over_http(port, "none", weights), process))
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
            found.append(Side("vLLM on the CPU", over_http(port, "none", weights), process))
        yield found


def measure(all_sides: list[Side], arguments: argparse.Namespace) -> dict[tuple[str, int], Score]:
    scores = {(side.name, n): Score() for side in all_sides for n in arguments.clients}
    number = 0
    for side in all_sides:
        with side.awake():
            side.turn(1, 1, number := number + 1)
    for played in range(arguments.rounds):
        for clients in arguments.clients:
            each = max(1, arguments.requests // clients)
            # The first of a round is another one each time.
            for side in all_sides[played:] + all_sides[:played]:
                with side.awake():
                    replies, seconds = side.turn(clients, each, number + 1)
                number += clients * each
                score = scores[side.name, clients]
                score.tokens += sum(reply.tokens for reply in replies)
                score.seconds += seconds
                score.first_s += [reply.first_s for reply in replies]
                print(f"{side.name}, {clients}: {score.rate:.0f} tokens/s", file=sys.stderr)
    return scores


def report(all_sides: list[Side], scores: dict[tuple[str, int], Score], clients: list[int]) -> None:
    header = ["tokens/s", *(f"{n}" for n in clients), *(f"first p50/p95 at {n}" for n in clients)]
    rows = [
        [
            side.name,
            *(f"{scores[side.name, n].rate:.0f}" for n in clients),
            *(
                f"{scores[side.name, n].first_ms(50):.0f}/{scores[side.name, n].first_ms(95):.0f}"
                for n in clients
            ),
        ]
        for side in all_sides
    ]
    print(f"\n{TOKENS} tokens each, first words in ms, by the number of clients:\n")
    print(table(header, rows))
    for side in all_sides:
        if side.name.startswith("through us"):
            engine = side.name.replace("through us", "bare engine")
            shares = ", ".join(
                f"{scores[side.name, n].rate / scores[engine, n].rate:.2f} at {n}" for n in clients
            )
            print(f"\n{side.name} / {engine}: {shares}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=numbers, default=[1, 8, 32], help="at once (1,8,32)")
    parser.add_argument("--requests", type=int, default=64, help="a turn, of all clients together")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--transformers", type=Path, help="the program `transformers`")
    parser.add_argument("--transformers-options", type=shlex.split, default=[])
    parser.add_argument("--vllm", type=Path, help="the program `vllm`")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> int:
    arguments = parse()
    try:
        with (
            stack.running(MODELPILOT_CATALOG=str(CARDS)) as system,
            sides(arguments, system) as all_sides,
        ):
            scores = measure(all_sides, arguments)
            report(all_sides, scores, arguments.clients)
            print(f"\n{system.manage('reconcile')}")
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
