"""A whole ModelPilot in a storm of faults, driven from outside: `make chaos`, `make soak`.

    python -m tests.chaos [--minutes 3] [--seed N] [--report FILE]

It starts a system of its own, lets four people ask it for chats, streams, speech and pictures,
two hundred at a time, and kills, freezes, empties and fills whatever there is, in an order that
the seed gives. Then everything has to be in order: exit status 1, with a sentence for each
promise that was not kept.
"""

import argparse
import json
import logging
import os
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.chaos import promises
from tests.chaos.clients import Asked
from tests.chaos.crowd import CREDIT, PEOPLE, Crowd, email, poison, probe
from tests.chaos.database import JOBS, LIVE, Watcher, rows
from tests.chaos.deck import deck
from tests.chaos.faults import Faults, small_disk, unmount
from tests.embedded_servers import forget_the_developers_environment
from tests.leftovers import eventually
from tests.system import CATALOG, System, product

CARDS = Path(__file__).with_name("catalog.toml")
# What comes after the storm is part of its minutes: the rest of the work, the stop, the report.
CALM_S = 100.0
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 6.0
DRAIN_S = 180.0
QUEUED_WITHOUT_VALKEY = 50


def main() -> int:
    """0 if every promise was kept, else 1."""
    arguments = parsed()
    logging.basicConfig(level=logging.ERROR)
    forget_the_developers_environment()
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes", flush=True)
    report = promises.Report(arguments.seed)
    with product(MODELPILOT_CATALOG=f"{CATALOG},{CARDS}") as system:
        own_disk = small_disk(system.data / "outputs")
        try:
            storm(system, arguments, report)
            try:
                system.stop()
            except AssertionError as error:
                report.broken.append(f"Something stays behind, or was said at the end: {error}")
            if report.broken:
                print(f"The system's log: {keep_log(system, arguments.seed)}", flush=True)
        finally:
            system.kill()
            if own_disk:
                unmount(system.data / "outputs")
    print(report.words(), flush=True)
    if arguments.report:
        arguments.report.write_text(json.dumps(report.as_json(), indent=2, default=str))
    return 1 if report.broken else 0


def keep_log(system: System, seed: int) -> Path:
    """Save what the system has said from the end of its folder."""
    kept = Path(tempfile.gettempdir()) / f"chaos-{seed}.log"
    shutil.copyfile(system.log, kept)
    return kept


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="in all (default %(default)g)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--report", type=Path, help="where the figures go as JSON")
    return parser.parse_args()


def storm(system: System, arguments: argparse.Namespace, report: promises.Report) -> None:
    began = time.monotonic()
    dice = random.Random(arguments.seed)
    watcher = Watcher(system.data)
    crowd = Crowd(system.start(), dice, lambda: watcher.live[-1] if watcher.live else 0)
    crowd.gather()
    patient = crowd.client("alice")
    looking = threading.Thread(target=watcher.watch, daemon=True)
    looking.start()
    probe(patient)
    away: list[Asked] = []
    faults = Faults(
        system,
        watcher,
        system.data / "outputs",
        meanwhile=lambda: away.extend(
            patient.do("later", patient.later) for _ in range(QUEUED_WITHOUT_VALKEY)
        ),
        away_s=60.0 if arguments.minutes > 10 else 10.0,
    )
    crowded = time.monotonic()
    crowd.come()
    poison(patient)
    torment(faults, random.Random(arguments.seed), began, 60 * arguments.minutes - CALM_S)
    faults.over()
    crowd.leave()
    drained = drain(system)
    took = time.monotonic() - crowded
    watcher.ended.set()
    looking.join()
    probe(patient)
    settle(report, system, crowd, watcher, faults)
    report.figures |= {
        "queued without Valkey": f"{sum(one.accepted for one in away)} of {len(away)}, the "
        f"slowest in {max((one.seconds for one in away), default=0):.1f} s",
        "quiet after": f"{drained:.0f} s",
        # From the first request to the last job's end.
        "took": f"{took:.0f} s",
    }
    report.hold("Jobs are taken without Valkey", [one.key for one in away if not one.accepted])


def torment(faults: Faults, dice: random.Random, began: float, until_s: float) -> None:
    """One deck after the other until that second; the first one to its end, however late."""
    decks = 0
    while decks == 0 or time.monotonic() - began < until_s:
        cards = deck(dice)
        for number, fault in enumerate(cards):
            now = time.monotonic() - began
            if decks and now > until_s:
                break
            print(f"{now:6.1f} s  {fault}", flush=True)
            faults.do(fault)
            left = until_s - (time.monotonic() - began)
            pause = max(SHORTEST_PAUSE_S, min(LONGEST_PAUSE_S, left / (len(cards) - number)))
            time.sleep(dice.uniform(0.5, 1.5) * pause)
        decks += 1


def drain(system: System) -> float:
    """Wait until nothing is queued or runs; how many seconds that took."""
    began = time.monotonic()
    while time.monotonic() < began + DRAIN_S:
        with suppress(psycopg.Error):
            if rows(system.data, LIVE)[0]["live"] == 0:
                break
        time.sleep(0.5)
    return time.monotonic() - began


def claims(log: str, pods: set[str]) -> set[tuple[str, int]]:
    """The jobs and attempts that these pods had, as the log tells of claims and of losses."""
    found = set()
    for line in log.splitlines():
        # Who is killed may leave half a line.
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            if said["event"] in ("job claimed", "job requeued") and said["pod"] in pods:
                found.add((said["job"], said["attempt"]))
    return found


def settle(
    report: promises.Report, system: System, crowd: Crowd, watcher: Watcher, faults: Faults
) -> None:
    eventually(lambda: crowd.callers["alice"].get("balance").status_code == 200)
    jobs = rows(system.data, JOBS)
    refused = system.said().count("is no longer attempt")
    report.figures |= {
        "faults": dict(faults.done),
        "met nobody": faults.missed,
        "zombies": f"{faults.zombies} came back; {refused} results of theirs refused",
        "in flight": f"{statistics.median(watcher.live):.0f} in the middle, "
        f"{max(watcher.live)} at most",
    }
    promises.judge(report, crowd.asked, jobs)
    claimed = claims(system.said(), watcher.met)
    promises.judge_executions(report, jobs, list(watcher.lost.values()), claimed)
    promises.judge_poison(report, jobs, list(watcher.lost.values()))
    promises.judge_bells(report, jobs)
    watcher.sample()
    judge_money(report, crowd, jobs)
    report.figures["books proved"] = f"{watcher.samples} times, {len(watcher.problems)} problems"
    report.hold("The books prove", watcher.problems)
    report.hold("Clients work", crowd.faults)


def judge_money(report: promises.Report, crowd: Crowd, jobs: list[dict[str, object]]) -> None:
    spent = dict.fromkeys(PEOPLE, 0.0)
    for name in PEOPLE:
        spent[name] = (
            sum(int(str(job["cost"])) for job in jobs if job["email"] == email(name)) / 1e6
        )
    balances = {name: caller.get("balance").json() for name, caller in crowd.callers.items()}
    report.figures |= {
        "charged": f"${sum(spent.values()):.3f}",
        "held at the end": f"${sum(balance['held'] for balance in balances.values()):g}",
    }
    report.hold("Nothing is held", [name for name in PEOPLE if balances[name]["held"]])
    report.hold(
        "Accounts paid what their jobs cost",
        [
            f"{name} has {balances[name]['available']}, spent {spent[name]}"
            for name in PEOPLE
            if abs(CREDIT - spent[name] - balances[name]["available"]) > 5e-7
        ],
    )


if __name__ == "__main__":
    # What it starts has sessions of its own; they must not outlive it.
    with suppress(OSError):
        os.setpgrp()
    sys.exit(main())
