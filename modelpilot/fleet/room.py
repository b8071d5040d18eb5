"""Making room: the devices where a deployment fits once others have gone, and who these are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, islice

from modelpilot.fleet.board import Board
from modelpilot.fleet.pieces import DeploymentFacts, DeviceFacts, Place, PodFacts, Stop
from modelpilot.fleet.turns import patience_until

# Sets of devices of one node that are looked at, the most promising first: all of them, for any
# number out of ten GPUs.
MOST_SETS = 252

# Says when a pod may leave, for that deployment.
When = Callable[[Board, PodFacts, DeploymentFacts], datetime]


@dataclass(frozen=True, slots=True)
class Room:
    """Devices where a deployment fits once `victims` have gone, which may be asked to at `at`.

    `patience_until`: when the deployment has waited long enough for all of them.
    """

    places: tuple[Place, ...]
    victims: tuple[PodFacts, ...]
    at: datetime
    patience_until: datetime

    @property
    def cost(self) -> tuple[datetime, int, datetime, tuple[Place, ...]]:
        """The soonest is the cheapest; among those that are equal, whose victims rest longest."""
        newest = max((pod.active_at for pod in self.victims), default=self.at)
        return self.at, len(self.victims) and 1, newest, self.places


def find(board: Board, deployment: DeploymentFacts, when: When) -> Room | None:
    """The cheapest room of all; None: it fits nowhere beside what is pinned."""
    rooms = (
        room
        for devices in board.suited(deployment)
        for chosen in sets(board, deployment, devices, when)
        if (room := on(board, deployment, chosen, when))
    )
    return min(rooms, key=lambda room: room.cost, default=None)


def sets(
    board: Board, deployment: DeploymentFacts, devices: list[DeviceFacts], when: When
) -> Iterator[tuple[Place, ...]]:
    """The devices of one node, as many at a time as the deployment needs."""
    alone = (on(board, deployment, (device.place,), when) for device in devices)
    able = sorted((room for room in alone if room), key=lambda room: room.cost)
    places = [place for room in able for place in room.places]
    return islice(combinations(places, deployment.devices), MOST_SETS)


def on(
    board: Board, deployment: DeploymentFacts, places: tuple[Place, ...], when: When
) -> Room | None:
    """The room on all of these devices; None: pods that are kept leave too little."""
    missing = {place: deployment.memory_mb - board.coming[place] for place in places}
    victims = victims_of(board, deployment, missing, when)
    if victims is None:
        return None
    now = board.now
    return Room(
        tuple(sorted(places)),
        victims,
        max([now, *(when(board, pod, deployment) for pod in victims)]),
        max([now, *(patience_until(board, pod, deployment) for pod in victims)]),
    )


def victims_of(
    board: Board, deployment: DeploymentFacts, missing: dict[Place, int], when: When
) -> tuple[PodFacts, ...] | None:
    """Who must go, so that what is `missing` (in MB, by device) comes; None: that can't be."""
    missing = dict(missing)
    victims: list[PodFacts] = []
    here = [
        pod
        for pod in board.pods
        if pod.id not in board.stopping and not missing.keys().isdisjoint(pod.places)
    ]
    here.sort(key=lambda pod: (when(board, pod, deployment), *worth(board, pod)))
    for pod in here:
        shared = missing.keys() & pod.places
        if any(missing[place] > 0 for place in shared) and not board.kept(pod, victims):
            victims.append(pod)
            for place in shared:
                missing[place] -= pod.memory_mb
    if any(amount > 0 for amount in missing.values()):
        return None
    for pod in reversed(victims[:]):
        shared = missing.keys() & pod.places
        if all(missing[place] + pod.memory_mb <= 0 for place in shared):
            # A larger one that came later makes room enough.
            victims.remove(pod)
            for place in shared:
                missing[place] += pod.memory_mb
    return tuple(victims)


def worth(board: Board, pod: PodFacts) -> tuple[bool, bool, datetime]:
    """Idle ones go first, then those that are not the only copy, then by their last use,
    or, since busy ones are all in use, by how long they have served."""
    busy = not board.idle(pod)
    since = (pod.ready_at if busy else None) or pod.active_at
    return busy, board.copies[pod.deployment] <= 1, since


def make_way(board: Board, deployment: DeploymentFacts, room: Room) -> list[Stop]:
    """Tell the victims to go; what they leave is the deployment's."""
    stops = [board.stop(pod, f"room for {deployment.id}") for pod in room.victims]
    for place in room.places:
        board.coming[place] -= deployment.memory_mb
    return stops


def keep(board: Board, deployment: DeploymentFacts, room: Room) -> None:
    """What is free beside the victims, who stay for now, is the deployment's."""
    for place in room.places:
        freed = sum(pod.memory_mb for pod in room.victims if place in pod.places)
        board.coming[place] -= deployment.memory_mb - freed
