"""Four people with sixteen clients, and a backlog of jobs that nobody waits for."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.api.caller import Caller
from tests.chaos.clients import Asked, Client
from tests.system import System

PEOPLE = ("alice", "bob", "dora", "paul")
THREADS_EACH = 4
CREDIT = 50.0
# What they ask for, by how often.
WEIGHTS = {
    "chat": 8, "stream": 5, "later": 5, "cancelled": 2, "followed": 1, "talk": 3, "speech": 2,
    "picture": 1,
}  # fmt: skip
# Queued and running jobs, at any moment of the storm.
IN_FLIGHT = 200
PROBES = 15
INNOCENT = 8
WARM = ("echo", "echo-slow", "echo:bench", "poison", "smollm2-135m", "piper-joe", "emoji-64")
TALKATIVE = WARM[:5]


def email(name: str) -> str:
    return f"{name}@example.com"


@dataclass
class Crowd:
    """Everybody who asks this system for something; `dice` decides what."""

    system: System
    dice: random.Random
    # How many jobs are queued and run.
    live: Callable[[], int]
    stop: threading.Event = field(default_factory=threading.Event)
    callers: dict[str, Caller] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def gather(self) -> None:
        """Give all of them accounts, and load what they will ask for."""
        keys = self.system.accounts([email(name) for name in PEOPLE], f"{CREDIT:g}")
        self.callers = {
            name: Caller(self.system.base_url, key) for name, key in zip(PEOPLE, keys, strict=True)
        }
        self.system.manage("account", email("bob"), "--staff")
        warm_up(self.callers["bob"])

    def client(self, name: str) -> Client:
        mine = random.Random(self.dice.random())
        client = Client(email(name), self.callers[name], mine, self.stop)
        self.clients.append(client)
        return client

    def come(self) -> None:
        """Everybody begins; returns once as much is in flight as will be all the time."""
        for name in PEOPLE:
            self.begin(self.client(name), self.keep_busy)
            for _ in range(THREADS_EACH):
                self.begin(self.client(name), lambda client: client.live(WEIGHTS))
        while self.live() < IN_FLIGHT:
            time.sleep(0.1)

    def begin(self, client: Client, work: Callable[[Client], None]) -> None:
        thread = threading.Thread(target=work, args=[client], daemon=True)
        thread.start()
        self.threads.append(thread)

    def keep_busy(self, client: Client) -> None:
        """See to it that there are always enough jobs in flight."""
        while not self.stop.is_set():
            if self.live() < IN_FLIGHT:
                client.do("later", client.later)
            else:
                time.sleep(0.1)

    def leave(self) -> None:
        """Nobody asks for more; whoever waits gets an answer."""
        self.stop.set()
        for thread in self.threads:
            thread.join()

    @property
    def asked(self) -> list[Asked]:
        return [one for client in self.clients for one in client.asked]

    @property
    def faults(self) -> list[str]:
        return [fault for client in self.clients for fault in client.faults]


def warm_up(bob: Caller) -> None:
    """Everything loaded once, the probe's pod for good, and two pods for most of the work."""
    deployed = {one["model"]: one["id"] for one in bob.get("deployments").json()["data"]}
    for model in set(WARM) - set(deployed):
        deployed[model] = bob.post("deployments", {"model": model}).json()["id"]
    for model, change in (("echo", {"pinned": True}), ("echo-slow", {"replicas": 2})):
        answer = bob.send("PATCH", f"deployments/{deployed[model]}", json=change)
        assert answer.status_code == 200, answer.text
    with ThreadPoolExecutor(len(TALKATIVE)) as threads:
        said = list(
            threads.map(lambda model: bob.chat("good morning", model, max_tokens=2), TALKATIVE)
        )
    assert {answer.status_code for answer in said} == {200}, [answer.text for answer in said]


def probe(client: Client) -> None:
    """How soon an idle pod hears of a job."""
    for _ in range(PROBES):
        client.do("probe", client.probe)
        time.sleep(0.2)


def poison(client: Client) -> None:
    """A job that kills its pod each time, and innocent ones that run beside it."""
    for _ in range(INNOCENT):
        client.do("beside_poison", client.beside_poison)
    client.do("poison", client.poison)
