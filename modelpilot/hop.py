"""Hops from the event loop to threads that may block: one pool for PostgreSQL, one for Stripe."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")

# As many as the connection pool has connections: a thread without one would only wait.
threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="hop")
# For calls to other people's servers: however slow they are, nobody else waits for them.
outbound = ThreadPoolExecutor(max_workers=4, thread_name_prefix="hop-out")


# How long a request may wait for a thread before anything of it was done. Whoever comes to more
# work than can be done would else wait for ever longer, and be gone when its turn comes.
PATIENCE_S = 20.0


class TooLate(Exception):
    """No thread came to it in time: nothing was done."""


class Lateness:
    """When somebody was last turned away for it."""

    at = -1e9


async def hop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread; its database connection goes back to the pool at the end."""
    return await run_in(threads, lambda: function(*args, **kwargs))


async def hop_in_time(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`hop` for the beginning of a request; after PATIENCE_S it raises TooLate instead."""
    asked = time.monotonic()

    def begin() -> T:
        now = time.monotonic()
        if now - asked > PATIENCE_S:
            Lateness.at = now
            raise TooLate
        return function(*args, **kwargs)

    return await run_in(threads, begin)


async def hop_out(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`hop` for what asks somebody else's server."""
    return await run_in(outbound, lambda: function(*args, **kwargs))


async def run_in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    def run() -> T:
        try:
            return work()
        finally:
            connection.close()

    # With the context, as log lines name the request in it.
    return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, run)
