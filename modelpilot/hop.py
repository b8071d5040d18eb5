"""One hop from the event loop to a small shared pool of threads that may block on PostgreSQL."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")

# As many as the connection pool has connections: a thread without one would only wait.
threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="hop")


async def hop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread; its database connection goes back to the pool at the end."""

    def run() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            connection.close()

    # With the context, as log lines name the request in it.
    return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, run)
