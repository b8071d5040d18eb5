"""How long models wait for each other, and how long they serve: those that don't fit together."""

from datetime import datetime, timedelta

from modelpilot.fleet.board import Board
from modelpilot.fleet.pieces import DeploymentFacts, PodFacts

# How long a model waits for busy ones before one of them must make way, and how long a pod
# has served at least before that: as many times the loads that the swap costs, within bounds.
# Jobs have ten minutes, so no swap is put off for more than two.
SWAP_FACTOR = 3
SHORTEST_S, LONGEST_S = 10.0, 120.0


def swap_seconds(load_seconds: float) -> float:
    """How long is long enough, for a swap that costs so much loading."""
    return min(LONGEST_S, max(SHORTEST_S, SWAP_FACTOR * load_seconds))


def may_stop_at(board: Board, pod: PodFacts, deployment: DeploymentFacts) -> datetime:
    """When a pod may be told to make way for a deployment."""
    if board.idle(pod):
        return board.now
    return max(patience_until(board, pod, deployment), tenure_until(board, pod))


def patience_until(board: Board, pod: PodFacts, deployment: DeploymentFacts) -> datetime:
    """When the deployment has waited long enough for a busy pod to be swapped for it."""
    if board.idle(pod) or (deployment.pinned and not deployment.waiting):
        return board.now
    patience = swap_seconds(deployment.load_seconds + board.load_seconds(pod))
    return board.now + timedelta(seconds=max(0.0, patience - deployment.waited_s))


def tenure_until(board: Board, pod: PodFacts) -> datetime:
    """Up to when a pod serves undisturbed, counted from its load."""
    load = board.load_seconds(pod)
    since = pod.ready_at or board.now + timedelta(seconds=max(1.0, load))
    return since + timedelta(seconds=swap_seconds(load))


# Guesses


def likely_gone_at(board: Board, pod: PodFacts, deployment: DeploymentFacts) -> datetime:
    """When a pod will have left: it runs out of work, or is made to leave."""
    cordoned = may_stop_at(board, pod, deployment) + timedelta(seconds=board.run_seconds(pod))
    return min(work_done_at(board, pod), cordoned)


def work_done_at(board: Board, pod: PodFacts) -> datetime:
    """When it has finished what it has, and all that waits for it unless it is stopping."""
    if pod.busy == 0 and (board.idle(pod) or pod.id in board.stopping):
        return board.now
    wish = board.wishes.get(pod.deployment)
    waiting = wish.waiting if wish and pod.id not in board.stopping else 0
    load = board.load_seconds(pod) if pod.loading else 0.0
    # The running ones are half done on average.
    rounds = (pod.busy > 0) / 2 + waiting / max(1, pod.slots)
    if waiting:
        rounds = max(1.0, rounds)
    return board.now + timedelta(seconds=load + rounds * board.run_seconds(pod))
