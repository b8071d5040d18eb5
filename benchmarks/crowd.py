"""More clients than this machine can serve: `make load`.

    python -m benchmarks.crowd [--streams 1000] [--jobs 10000] [--connections 5000] [--report FILE]

A thousand streams at once; ten thousand jobs in a queue, 9,900 of one account and 100 of another;
then five thousand connections at one moment. It reports memory of each process, latencies,
throughput and fairness, and ends with exit status 1 where an expectation was broken: an answer
that was wrong or missing, a refusal that does not say when to come again, an account that waits
behind another's thousands, memory that does not stop growing, or books that do not prove.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psycopg
import uvloop

from benchmarks import load, memory, stack
from benchmarks.bench import machine, percentile, say
from benchmarks.load import Client, Connection, Tally
from benchmarks.stack import BenchmarkError, Stack
from modelpilot import embedded

STREAM_S = 25.0
WARM_UP_S = 8.0
# Clients that submit the ten thousand.
SUBMITTERS = 32
DRAIN_S = 400.0
PATIENCE_S = 180.0
FEW = 100
# So long does a count of the queue hold (modelpilot/jobs/queue.py).
COUNTED_S = 1.0
# A stream may take so much of the web process's memory.
KB_A_STREAM = 300
# What a second round may add to what is kept after the first.
LEAK_MB = 25


@dataclass
class Report:
    figures: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.broken.append(otherwise)


def told(report: Report, name: str, figure: str) -> None:
    report.figures[name] = figure
    print(f"{name}: {figure}", flush=True)


def ms(seconds: list[float]) -> str:
    return " / ".join(f"{percentile(seconds, p):.0f}" for p in (50, 95, 99))


# A thousand streams


def streams(system: Stack, watch: memory.Watch, report: Report, count: int) -> None:
    rounds: list[Tally] = []
    load.run(system, "echo:many", clients=1, stream=True, seconds=1)
    load.run(system, "echo:many", clients=count, stream=True, seconds=WARM_UP_S)
    for number in (1, 2):
        say(f"{count} streams, round {number} ...")
        with watch.during(f"streams {number}"):
            rounds.append(
                load.run(system, "echo:many", clients=count, stream=True, seconds=STREAM_S)
            )
    tally = rounds[-1]
    told(report, "streams at once", str(count))
    told(report, "streams answered", f"{sum(each.count for each in rounds)}")
    told(report, "streams a second", f"{tally.count / tally.elapsed_s:.0f}")
    told(report, "pieces a second", f"{tally.pieces / tally.elapsed_s:.0f}")
    told(report, "first token, p50 / p95 / p99, ms", ms(tally.first_s))
    told(report, "whole stream, p50 / p95 / p99, ms", ms(tally.total_s))
    errors = [error for each in rounds for error in each.errors]
    report.expect(not errors, f"{len(errors)} of the streams failed: {sorted(set(errors))[:3]}")
    first, second = (watch.samples[f"streams {number}"][-1] for number in (1, 2))
    grown = second["web"] - first["web"]
    took = watch.peak("web", "streams 2") - watch.samples["idle"][-1]["web"]
    told(report, "web process, MB for the streams", f"{took:.0f}")
    told(report, "web process, MB that a second round added", f"{grown:.0f}")
    report.expect(took < count * KB_A_STREAM / 1000, f"The web process took {took:.0f} MB.")
    report.expect(grown < LEAK_MB, f"The web process grows: {grown:.0f} MB a round.")


# Ten thousand jobs


def queued(system: Stack, watch: memory.Watch, report: Report, jobs: int) -> None:
    """All are queued before the first one is started."""
    many, few, third = (
        system.manage("account", f"{name}@localhost", "--credit", "100").splitlines()[-1]
        for name in ("many", "few", "third")
    )
    with watch.during("queue"):
        with nobody_starts(system):
            say(f"Queueing {jobs} jobs ...")
            begun = time.perf_counter()
            answers = asyncio_run(submit(system.port, many, jobs - FEW))
            told(report, "submits a second", f"{len(answers) / (time.perf_counter() - begun):.0f}")
            refused(system, report, "its own bound", many, 429)
            answers += asyncio_run(submit(system.port, few, FEW))
            wrong = [status for status, _, _ in answers if status != 202]
            report.expect(not wrong, f"{len(wrong)} submits were refused: {Counter(wrong)}")
            time.sleep(COUNTED_S)
            refused(system, report, "the queue's", few, 503)
            [(status, _, _)] = asyncio_run(submit(system.port, third, 1))
            report.expect(status == 202, f"A third account was shut out: {status}")
        say("Draining ...")
        seconds = drained(system, report)
    told(report, "jobs queued at once", str(jobs))
    told(report, "jobs a second while draining", f"{jobs / seconds:.0f}")
    fairness(system, report)


def refused(system: Stack, report: Report, bound: str, key: str, expected: int) -> None:
    """Past the bound comes its status, and when to come again."""
    [(status, after, body)] = asyncio_run(submit(system.port, key, 1))
    told(report, f"past {bound}", f"{status}, Retry-After {after}")
    report.expect(
        status == expected and after is not None,
        f"Past {bound} came {status} with Retry-After {after}: {body[:200]!r}",
    )


@contextmanager
def nobody_starts(system: Stack) -> Iterator[None]:
    """The node looks away meanwhile, so that no pod starts."""
    [node] = system.processes()["node"]
    node.suspend()
    try:
        yield
    finally:
        node.resume()


async def submit(port: int, key: str, count: int) -> list[tuple[int, str | None, bytes]]:
    """So many jobs that nobody waits for: statuses, Retry-After and bodies."""
    left = iter(range(count))
    found: list[tuple[int, str | None, bytes]] = []

    async def one() -> None:
        asking = Asking(port, key, "echo:queued", later=True)
        found.extend([await asking.ask(f"job {number}") for number in left])
        asking.close()

    await asyncio.gather(*(one() for _ in range(min(SUBMITTERS, count))))
    return found


class Asking(Client):
    """One connection whose answers may also be refusals."""

    def __init__(self, port: int, key: str, model: str, *, later: bool) -> None:
        super().__init__(port, key, model, number=0, stream=not later)
        if later:
            head = self.head.removesuffix(b"Content-Length: ")
            self.head = head + b"Prefer: respond-async\r\nContent-Length: "

    async def ask(self, words: str) -> tuple[int, str | None, bytes]:  # type: ignore[override]
        loop = asyncio.get_running_loop()
        if self.connection is None or self.connection.transport is None:
            _, self.connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
        connection = self.connection
        assert connection.transport is not None
        messages = [{"role": "user", "content": words}]
        body = orjson.dumps(
            {"model": self.model, "messages": messages, "max_tokens": 20, "stream": self.stream}
        )
        answer: asyncio.Future[None] = loop.create_future()
        connection.begin(answer)
        connection.transport.write(self.head + str(len(body)).encode() + b"\r\n\r\n" + body)
        async with asyncio.timeout(PATIENCE_S):
            await answer
        return read(connection)


def read(connection: Connection) -> tuple[int, str | None, bytes]:
    head = bytes(connection.buffer[: connection.body_at])
    body = bytes(connection.buffer[connection.body_at :])
    after = None
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"retry-after:"):
            after = line.partition(b":")[2].strip().decode()
    return int(head[9:12]), after, body if connection.length is not None else load.dechunked(body)


ENDED = """
SELECT count(*) FILTER (WHERE state IN ('queued', 'running')),
       count(*) FILTER (WHERE state IN ('failed', 'cancelled')),
       EXTRACT(EPOCH FROM max(finished_at) - min(started_at))::float8
FROM jobs_job WHERE request_id <> '' AND owner_id IN (SELECT id FROM accounts_user
    WHERE email IN ('many@localhost', 'few@localhost'))
"""
# Of each account: when its last was started after the first of all, and how many of the other's
# were started before that.
SHARES = """
WITH started AS (
    SELECT split_part(email, '@', 1) AS name, started_at,
           EXTRACT(EPOCH FROM started_at - min(started_at) OVER ())::float8 AS waited
    FROM jobs_job JOIN accounts_user person ON person.id = owner_id
    WHERE email IN ('many@localhost', 'few@localhost')
), last AS (SELECT max(started_at) AS at FROM started WHERE name = 'few')
SELECT name, percentile_cont(0.5) WITHIN GROUP (ORDER BY waited), max(waited),
       count(*) FILTER (WHERE started_at < (SELECT at FROM last))
FROM started GROUP BY name ORDER BY name
"""


def rows(system: Stack, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(embedded.database_url(system.data)) as connection:
        return connection.execute(query).fetchall()


def drained(system: Stack, report: Report) -> float:
    """Seconds from the first start to the last end."""
    deadline = time.monotonic() + DRAIN_S
    while (found := rows(system, ENDED)[0])[0]:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"After {DRAIN_S:.0f} s {found[0]} jobs wait.")
        time.sleep(1)
    report.expect(not found[1], f"{found[1]} of the queued jobs did not succeed.")
    return float(found[2])


def fairness(system: Stack, report: Report) -> None:
    found = {name: rest for name, *rest in rows(system, SHARES)}
    for name, (median, longest, _) in found.items():
        told(report, f"'{name}' started after, p50 / last, s", f"{median:.1f} / {longest:.1f}")
    before = found["many"][2]
    told(report, "jobs of the many before the last of the few", str(before))
    # As many as the few have, and what was taken at once before they had their turn.
    report.expect(before < 3 * FEW + 200, f"The few waited for {before} jobs of the many.")


# Five thousand connections


def overload(system: Stack, watch: memory.Watch, report: Report, count: int) -> None:
    say(f"{count} connections at once ...")
    with watch.during("overload"):
        answers, seconds, probes = asyncio_run(rush(system, count))
    statuses = Counter(status for status, _, _ in answers)
    told(report, "connections at one moment", str(count))
    told(report, "answered", ", ".join(f"{n} with {status}" for status, n in statuses.items()))
    refused = [took for (status, _, _), took in zip(answers, seconds, strict=True) if status == 503]
    taken = [took for (status, _, _), took in zip(answers, seconds, strict=True) if status == 200]
    told(report, "refused after, p50 / p95 / p99, ms", ms(refused))
    told(report, "taken and answered after, p50 / p95 / p99, ms", ms(taken))
    told(report, "slowest /healthz meanwhile, ms", f"{max(probes) * 1000:.0f}")
    for status, after, body in answers:
        if status == 503:
            code = orjson.loads(body)["error"]["code"]
            good = code == "overloaded" and after is not None and after.isdigit()
            report.expect(good, f"A refusal said {code}, Retry-After {after}.")
        elif status != 200 or not body.rstrip().endswith(b"data: [DONE]"):
            report.expect(False, f"An answer was {status}: {body[-200:]!r}")
    report.broken = list(dict.fromkeys(report.broken))
    begun = time.monotonic()
    after = load.run(system, "echo:fast", clients=4, stream=True, seconds=3)
    told(report, "served again after, s", f"{time.monotonic() - begun - 3 + after.first_s[0]:.1f}")
    report.expect(not after.errors, f"Afterwards: {after.errors[:2]}")


async def rush(
    system: Stack, count: int
) -> tuple[list[tuple[int, str | None, bytes]], list[float], list[float]]:
    """What each got and how long that took; and how long /healthz took meanwhile."""
    probes: list[float] = []
    crowd = [Asking(system.port, system.key, "echo:fast", later=False) for _ in range(count)]

    async def one(number: int) -> tuple[tuple[int, str | None, bytes], float]:
        begun = time.perf_counter()
        try:
            answer = await crowd[number].ask(f"rush {number}")
        except (OSError, TimeoutError) as error:
            answer = (0, None, repr(error).encode())
        crowd[number].close()
        return answer, time.perf_counter() - begun

    probing = asyncio.create_task(probe(system.port, probes))
    found = await asyncio.gather(*(one(number) for number in range(count)))
    probing.cancel()
    return [answer for answer, _ in found], [took for _, took in found], probes


async def probe(port: int, probes: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"200" in await reader.read()
        writer.close()
        probes.append(time.perf_counter() - begun)
        await asyncio.sleep(0.5)


def asyncio_run(work: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--report", type=Path, help="where the figures go as JSON")
    parser.add_argument("--data", type=Path, help="a folder to use and to keep, with up.log")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, report: Report) -> None:
    bounds = {
        "MODELPILOT_JOBS_PER_ACCOUNT": str(arguments.jobs - FEW),
        "MODELPILOT_JOBS_PER_MODEL": str(arguments.jobs),
    }
    with stack.running(keep_data=arguments.data, **bounds) as system:
        watch = memory.Watch(system)
        load.run(system, "echo:fast", clients=4, stream=True, seconds=3)
        watch.samples["idle"] = [watch.look()]
        streams(system, watch, report, arguments.streams)
        queued(system, watch, report, arguments.jobs)
        overload(system, watch, report, arguments.connections)
        time.sleep(5)
        watch.samples["after"] = [watch.look()]
        print(f"\n{watch.table()}\n")
        try:
            print(system.manage("reconcile"))
        except BenchmarkError as error:
            report.broken.append(str(error))


def main() -> int:
    arguments = parse()
    signal.signal(signal.SIGTERM, stack.terminated)
    print(machine(), flush=True)
    report = Report()
    try:
        measure(arguments, report)
    except BenchmarkError as error:
        report.broken.append(str(error))
    except KeyboardInterrupt:
        return 130
    for sentence in report.broken:
        print(f"Broken: {sentence}")
    if arguments.report:
        fields = {"figures": report.figures, "broken": report.broken}
        arguments.report.write_text(json.dumps(fields, indent=2))
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
