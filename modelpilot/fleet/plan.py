"""What to start and what to stop, as a pure function of what is wished and what is there.

No clock, no database, no processes: `fleet.node` gathers the facts and carries out the
actions that concern its own machine. All nodes reach the same plan from the same facts.
`fleet.pieces` has the facts and the actions, `fleet.board` keeps count of memory and copies,
`fleet.room` finds who must go for whom, and `fleet.turns` when.
"""

from collections.abc import Sequence
from datetime import datetime

from modelpilot.fleet import room as rooms
from modelpilot.fleet.board import Board
from modelpilot.fleet.pieces import Action, DeploymentFacts, DeviceFacts, PodFacts
from modelpilot.fleet.turns import likely_gone_at, may_stop_at, work_done_at


def plan(
    devices: Sequence[DeviceFacts],
    deployments: Sequence[DeploymentFacts],
    pods: Sequence[PodFacts],
    now: datetime,
) -> list[Action]:
    """The next actions: first copies for whom waits longest, then what room is left for more.

    Never over a device's memory. Idle pods make room at once, least recently used first; busy
    ones only after the waiting model's patience and their own tenure; the last pod of a pinned
    deployment never.
    """
    board = Board(devices, deployments, pods, now)
    actions: list[Action] = list(board.unwanted())
    for deployment in board.without_pod():
        places = board.roomiest(deployment)
        if places is not None:
            actions.append(board.start(deployment, places))
            continue
        room = rooms.find(board, deployment, may_stop_at)
        if room is None:
            continue
        if room.at <= now:
            actions += rooms.make_way(board, deployment, room)
        elif room.patience_until <= now:
            # Only their tenure keeps them: nobody else moves in meanwhile.
            rooms.keep(board, deployment, room)
    for deployment in board.worth_another():
        places = board.roomiest(deployment)
        if places is not None:
            actions.append(board.start(deployment, places))
    return actions


def starts_in(
    devices: Sequence[DeviceFacts],
    deployments: Sequence[DeploymentFacts],
    pods: Sequence[PodFacts],
    now: datetime,
    wanted: str,
) -> tuple[float, bool] | None:
    """For how many seconds the first pod of a deployment can't start yet, as far as one can
    tell, and whether others must go for it; None: for as long as pinned ones stay."""
    board = Board(devices, deployments, pods, now)
    for _ in board.unwanted():
        pass
    deployment = board.wishes.get(wanted)
    if deployment is None:
        return None
    retry_s = max(0.0, (deployment.retry_at - now).total_seconds()) if deployment.retry_at else 0.0
    if board.roomiest(deployment) is not None:
        return retry_s, False
    room = rooms.find(board, deployment, likely_gone_at)
    if room is None:
        return None
    here = set(room.places)
    leaving = [pod for pod in pods if pod.id in board.stopping and not here.isdisjoint(pod.places)]
    gone = max([room.at, *(work_done_at(board, pod) for pod in leaving)])
    return max(retry_s, (gone - now).total_seconds()), True
