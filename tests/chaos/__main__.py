"""A whole ModelPilot in a storm of faults, driven from outside: `make chaos`, `make soak`.

    python -m tests.chaos [--minutes 3] [--seed N] [--report FILE]

It starts a system of its own, lets sixteen people ask it for chats, streams, speech and pictures,
and kills, freezes, empties and fills whatever there is, in an order that the seed gives. Then
everything has to be in order: exit status 1, with a sentence for each promise that was not kept.
"""

import argparse
import json
import logging
import os
import random
import secrets
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg

from tests.api.caller import Caller
from tests.chaos import promises
from tests.chaos.clients import Asked, Client
from tests.chaos.database import JOBS, LIVE, Watcher, rows
from tests.chaos.faults import Faults, small_disk, unmount
from tests.embedded_servers import forget_the_developers_environment
from tests.leftovers import eventually
from tests.system import CATALOG, System, product

CARDS = Path(__file__).with_name("catalog.toml")
PEOPLE = ("alice", "bob", "dora", "paul")
THREADS_EACH = 4
CREDIT = 50.0
# What they ask for, by how often.
WEIGHTS = {
    "chat": 8, "stream": 5, "later": 5, "cancelled": 2, "followed": 1, "talk": 3, "speech": 2,
    "picture": 1,
}  # fmt: skip
IN_FLIGHT = 200
PROBES = 15
INNOCENT = 8
DRAIN_S = 180.0
WARM = ("echo", "echo-slow", "echo:bench", "poison", "smollm2-135m", "piper-joe", "emoji-64")


def main() -> int:
    """0 if every promise was kept, else 1."""
    arguments = parsed()
    logging.basicConfig(level=logging.ERROR)
    forget_the_developers_environment()
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes", flush=True)
    report = promises.Report(arguments.seed)
    with product(MODELPILOT_CATALOG=f"{CATALOG},{CARDS}") as system:
        disk = small_disk(system.data / "outputs")
        if disk is None:
            print("No disk is filled: only root may mount a small one.", flush=True)
        try:
            storm(system.start(), arguments, disk, report)
            try:
                system.stop()
            except AssertionError as error:
                report.broken.append(f"Something stays behind, or was said at the end: {error}")
        finally:
            system.kill()
            if disk is not None:
                unmount(disk)
    print(report.words(), flush=True)
    if arguments.report:
        arguments.report.write_text(json.dumps(report.as_json(), indent=2, default=str))
    return 1 if report.broken else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="in all (default %(default)g)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--report", type=Path, help="where the figures go as JSON")
    return parser.parse_args()


def storm(
    system: System, arguments: argparse.Namespace, disk: Path | None, report: promises.Report
) -> None:
    began = time.monotonic()
    # Calm at both ends: what comes after the storm is part of its minutes.
    until = began + 60 * arguments.minutes * 0.7
    dice = random.Random(arguments.seed)
    stop = threading.Event()
    callers = {name: Caller(system.base_url, an_account(system, name)) for name in PEOPLE}
    clients = [
        Client(email(name), callers[name], random.Random(dice.random()), stop)
        for name in PEOPLE
        for _ in range(THREADS_EACH)
    ]
    patient = Client(email("alice"), callers["alice"], random.Random(dice.random()), stop)
    warm_up(callers["bob"])
    watcher = Watcher(system.data)
    looking = threading.Thread(target=watcher.watch)
    looking.start()
    probe(patient)

    away: list[Asked] = []
    faults = Faults(
        system,
        watcher,
        random.Random(dice.random()),
        disk,
        meanwhile=lambda: away.extend(patient.do("later", patient.later) for _ in range(50)),
        away_s=60.0 if arguments.minutes > 10 else 10.0,
    )
    at_once(burst, clients)
    living = [threading.Thread(target=client.live, args=[WEIGHTS]) for client in clients]
    for thread in living:
        thread.start()
    poisoned = False
    while time.monotonic() < until:
        deck = faults.deck()
        # All of it in the three minutes; in half an hour, again and again.
        pause = min(6.0, (until - time.monotonic()) / len(deck))
        for name in deck:
            if time.monotonic() > until:
                break
            print(f"{time.monotonic() - began:6.1f} s  {name}", flush=True)
            faults.do(name)
            time.sleep(dice.uniform(0.5, 1.5) * pause)
            if not poisoned:
                poisoned = True
                for _ in range(INNOCENT):
                    patient.do("beside_poison", patient.beside_poison)
                patient.do("poison", patient.poison)
    stop.set()
    faults.over()
    for thread in living:
        thread.join()
    drained = drain(system)
    watcher.ended.set()
    looking.join()
    probe(patient)
    asked = [one for client in [*clients, patient] for one in client.asked]
    settle(report, system, callers, watcher, faults, asked)
    report.figures |= {
        "queued without Valkey": f"{sum(one.accepted for one in away)} of {len(away)}, the "
        f"slowest in {max((one.seconds for one in away), default=0):.1f} s",
        "quiet after": f"{drained:.0f} s",
        "took": f"{time.monotonic() - began:.0f} s",
    }
    report.hold("Jobs are taken without Valkey", [one.key for one in away if not one.accepted])
    report.hold(
        "Clients work", [fault for client in [*clients, patient] for fault in client.faults]
    )


def email(name: str) -> str:
    return f"{name}@example.com"


def an_account(system: System, name: str) -> str:
    return system.account(email(name), f"{CREDIT:g}", staff=name == "bob")


def warm_up(bob: Caller) -> None:
    """Everything loaded once, the probe's pod for good, and two pods for most of the work."""
    deployed = {one["model"]: one["id"] for one in bob.get("deployments").json()["data"]}
    for model in set(WARM) - set(deployed):
        deployed[model] = bob.post("deployments", {"model": model}).json()["id"]
    for model, change in (("echo", {"pinned": True}), ("echo-slow", {"replicas": 2})):
        answer = bob.send("PATCH", f"deployments/{deployed[model]}", json=change)
        assert answer.status_code == 200, answer.text
    said = [bob.chat("good morning", model, max_tokens=2) for model in WARM[:5]]
    assert {answer.status_code for answer in said} == {200}, [answer.text for answer in said]


def burst(client: Client) -> None:
    for _ in range(IN_FLIGHT // (len(PEOPLE) * THREADS_EACH)):
        client.do("later", client.later)


def probe(client: Client) -> None:
    for _ in range(PROBES):
        client.do("probe", client.probe)
        time.sleep(0.2)


def at_once(work: Callable[[Client], None], clients: list[Client]) -> None:
    threads = [threading.Thread(target=work, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def drain(system: System) -> float:
    """Wait until nothing is queued or runs; how many seconds that took."""
    began = time.monotonic()
    while time.monotonic() < began + DRAIN_S:
        with suppress(psycopg.Error):
            if rows(system.data, LIVE)[0]["live"] == 0:
                break
        time.sleep(0.5)
    return time.monotonic() - began


def settle(
    report: promises.Report,
    system: System,
    callers: dict[str, Caller],
    watcher: Watcher,
    faults: Faults,
    asked: list[Asked],
) -> None:
    eventually(lambda: callers["alice"].get("balance").status_code == 200)
    jobs = rows(system.data, JOBS)
    report.figures["faults"] = dict(faults.done)
    promises.judge(report, asked, jobs)
    promises.judge_executions(report, jobs, watcher.lost, faults.taken)
    promises.judge_bells(report, jobs)
    watcher.sample()
    spent = {
        name: sum(job["cost"] for job in jobs if job["email"] == email(name)) / 1e6
        for name in PEOPLE
    }
    balances = {name: caller.get("balance").json() for name, caller in callers.items()}
    report.figures |= {
        "charged": f"${sum(spent.values()):.3f}",
        "held at the end": f"${sum(balance['held'] for balance in balances.values()):g}",
        "books proved": f"{watcher.samples} times, {len(watcher.problems)} problems",
    }
    report.hold("The books prove", watcher.problems)
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
