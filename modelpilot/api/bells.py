"""Ringing without spending: at most one bell per model and tick leaves this process."""

import asyncio
import time

from modelpilot.hop import hop
from modelpilot.jobs import doorbell

TICK_S = 0.01

last: dict[str, float] = {}
pending: dict[str, asyncio.Task[None]] = {}


def ring(model: str, pods: int) -> None:
    """Ring now, or with the next tick when this model has just been rung for.

    Called after the commit: a bell that is yet to leave covers everything before it.
    """
    if model not in pending:
        pending[model] = asyncio.create_task(ring_in_turn(model, pods))


async def ring_in_turn(model: str, pods: int) -> None:
    wait = last.get(model, 0.0) + TICK_S - time.monotonic()
    if wait > 0:
        await asyncio.sleep(wait)
    last[model] = time.monotonic()
    del pending[model]
    await hop(doorbell.ring, model, pods)
