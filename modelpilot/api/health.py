"""Whether this process lives, and whether it can serve."""

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse

from modelpilot.hop import hop
from modelpilot.jobs import valkey


async def healthz(request: HttpRequest) -> HttpResponseBase:
    """The process answers."""
    return JsonResponse({"status": "ok"})


async def readyz(request: HttpRequest) -> HttpResponseBase:
    """200 if requests can be served, else 503. Without Valkey they can, only slower."""
    database = await hop(database_answers)
    queue = await hop(valkey_answers)
    body = {
        "status": "ready" if database else "not ready",
        "database": "running" if database else "unreachable",
        "queue": "running" if queue else "unreachable",
    }
    return JsonResponse(body, status=200 if database else 503)


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
