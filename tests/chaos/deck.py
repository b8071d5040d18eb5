"""Which faults a storm has, in an order that its seed alone gives."""

import random
from dataclasses import dataclass

# Most of the work is the slow echo's; the others have weights to load again.
PODS = ("echo-slow",) * 6 + ("echo:bench", "smollm2-135m", "piper-joe", "emoji-64")
FROZEN = ("echo-slow", "echo-slow", "smollm2-135m")
COUNTS = {
    "kill Valkey": 3,
    "kill the web": 2,
    "kill housekeeping": 2,
    "kill PostgreSQL": 3,
    "kill the node": 1,
    "flush Valkey": 2,
    "fill the disk": 1,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done, and to whose pod where it is done to one."""

    name: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.model})" if self.model else self.name


def deck(dice: random.Random) -> list[Fault]:
    """The faults of three minutes.

    Zombies take longer than a lease to come back, so pods are frozen in the first half; and one
    of them with its node, whose pods all have to be started again.
    """
    faults = [Fault("kill a pod", model) for model in PODS]
    faults += [Fault(name) for name, count in COUNTS.items() for _ in range(count)]
    dice.shuffle(faults)
    middle = len(faults) // 2
    early = [
        *faults[:middle],
        *(Fault("freeze a pod", model) for model in FROZEN),
        *(Fault("freeze a pod, kill its node", "echo-slow") for _ in range(2)),
    ]
    dice.shuffle(early)
    return [*early, Fault("Valkey stays away"), *faults[middle:]]
