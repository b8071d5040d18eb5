"""Text through this platform beside other servers and beside its own engines, in one run.

    python -m benchmarks.throughput [--transformers PROGRAM] [--vllm PROGRAM] [--clients 1,8,32]

The same SmolLM2 everywhere: llama.cpp reads the packaged GGUF (4 bits), the others the
safetensors that our engine `text_transformers` makes of it (bfloat16). Every side is up from the
start, and they are asked in turns, so that what else happens on this machine happens to all.
Through us means all of it: key, hold, job, events, settlement. See README.md beside this file
for the other programs.
"""

import argparse
import shlex
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import stack
from benchmarks.sides import CARDS, MODELS, TOKENS, Side, sides
from benchmarks.stack import BenchmarkError, table

# Requests of one client in a turn: alone it would take minutes for as many as a crowd's.
MOST_EACH = 16


@dataclass
class Score:
    """What one side did with so many clients, in all its turns."""

    tokens: int = 0
    seconds: float = 0.0
    # Of all processes that took part, but for the clients', by part.
    cpu_s: Counter[str] = field(default_factory=Counter)
    # Of this process: asking and reading is on the same cores.
    clients_s: float = 0.0
    first_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)

    @property
    def cpu_ms(self) -> float:
        """CPU time of each token: what else a machine has to do changes it little."""
        return self.by_part(self.cpu_s.total())

    def by_part(self, seconds: float) -> float:
        return 1000 * seconds / max(self.tokens, 1)

    def first_ms(self, percent: int) -> float:
        if len(self.first_s) < 2:
            return 1000 * sum(self.first_s)
        return 1000 * statistics.quantiles(self.first_s, n=100, method="inclusive")[percent - 1]


def measure(all_sides: list[Side], arguments: argparse.Namespace) -> dict[tuple[str, int], Score]:
    scores = {(side.name, n): Score() for side in all_sides for n in arguments.clients}
    number = 0
    for side in all_sides:
        with side.awake():
            side.turn(1, 1, number := number + 1)
    for played in range(arguments.rounds):
        for clients in arguments.clients:
            each = max(1, min(MOST_EACH, arguments.requests // clients))
            # The first of a round is another one each time.
            for side in all_sides[played:] + all_sides[:played]:
                score = scores[side.name, clients]
                with side.awake():
                    before, asked = side.used(), time.process_time()
                    replies, seconds = side.turn(clients, each, number + 1)
                    score.clients_s += time.process_time() - asked
                    score.cpu_s.update(grown(before, side.used()))
                number += clients * each
                score.tokens += sum(reply.tokens for reply in replies)
                score.seconds += seconds
                score.first_s += [reply.first_s for reply in replies]
                print(f"{side.name}, {clients}: {score.rate:.0f} tokens/s", file=sys.stderr)
    return scores


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {part: seconds - before.get(part, 0.0) for part, seconds in after.items()}


def report(all_sides: list[Side], scores: dict[tuple[str, int], Score], clients: list[int]) -> None:
    def columns(told: Callable[[Score], str], side: Side) -> list[str]:
        return [told(scores[side.name, n]) for n in clients]

    print(f"\n{TOKENS} tokens each; first words in ms, by the number of clients:\n")
    header = ["tokens/s", *(f"{n}" for n in clients), *(f"first p50/p95 at {n}" for n in clients)]
    first = [
        [
            side.name,
            *columns(lambda score: f"{score.rate:.0f}", side),
            *columns(lambda score: f"{score.first_ms(50):.0f}/{score.first_ms(95):.0f}", side),
        ]
        for side in all_sides
    ]
    print(table(header, first))
    print("\nCPU ms of each token, in all processes of a side but the clients:\n")
    spent = [[s.name, *columns(lambda score: f"{score.cpu_ms:.2f}", s)] for s in all_sides]
    print(table(["", *map(str, clients)], spent))
    for side in all_sides:
        if side.name.startswith("through us"):
            engine = side.name.replace("through us", "bare engine")
            pairs = [(n, scores[side.name, n], scores[engine, n]) for n in clients]
            print(
                f"\n{side.name} / {engine}: tokens/s "
                + ", ".join(f"{ours.rate / bare.rate:.2f} at {n}" for n, ours, bare in pairs)
                + "; CPU of the engine / CPU through us "
                + ", ".join(f"{bare.cpu_ms / ours.cpu_ms:.2f} at {n}" for n, ours, bare in pairs)
            )
            score = scores[side.name, clients[-1]]
            parts = [f"{part} {score.by_part(s):.2f}" for part, s in score.cpu_s.most_common()]
            parts.append(f"and the clients {score.by_part(score.clients_s):.2f}")
            print(f"CPU ms of each token at {clients[-1]}: {', '.join(parts)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=numbers, default=[1, 8, 32], help="at once (1,8,32)")
    parser.add_argument("--requests", type=int, default=64, help="a turn, of all clients together")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=MODELS, help="one of our engines, and nobody else")
    parser.add_argument(
        "--apart", action="store_true", help="engines on one core, and all else on another"
    )
    parser.add_argument("--transformers", type=Path, help="the program `transformers`")
    parser.add_argument("--transformers-options", type=shlex.split, default=[])
    parser.add_argument("--vllm", type=Path, help="the program `vllm`")
    arguments = parser.parse_args()
    if arguments.apart and not arguments.only:
        parser.error("--apart takes --only: other servers would have their clients' core")
    return arguments


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
