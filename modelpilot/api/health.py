"""Whether this process lives, and whether it can serve."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from modelpilot.api.admission import admission
from modelpilot.hop import run_in
from modelpilot.jobs import valkey

# Load balancers and Kubernetes give up after a few seconds, or even one.
PROBE_S = 2.0
# Of their own: whoever asks how it is must not wait behind all the others.
threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="probe")


async def healthz(request: HttpRequest) -> HttpResponseBase:
    """The process answers."""
    return JsonResponse({"status": "ok"})


async def readyz(request: HttpRequest) -> HttpResponseBase:
    """200 if requests can be served, else 503: without a database, or with more to do than this
    process can. Without Valkey they can, only slower."""
    database = await in_time(database_answers)
    queue = await in_time(valkey_answers)
    status = "ready" if database else "not ready"
    if database and admission.overloaded():
        status = "overloaded"
    body = {
        "status": status,
        "database": "running" if database else "unreachable",
        "queue": "running" if queue else "unreachable",
    }
    return JsonResponse(body, status=200 if status == "ready" else 503)


async def in_time(answers: Callable[[], bool]) -> bool:
    """False for what takes longer than who asks would wait."""
    try:
        async with asyncio.timeout(PROBE_S):
            return await run_in(threads, answers)
    except TimeoutError:
        return False


def database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return True
    except (DatabaseError, InterfaceError):
        return False


def valkey_answers() -> bool:
    try:
        return bool(valkey.client().ping())
    except valkey.AWAY:
        return False
