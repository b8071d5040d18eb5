"""The web process: Django behind the gate, without what Django does for sync code.

Measured: Django's ASGI handler starts and joins a thread for every request, to run
receivers that close connections. Our routes hand theirs back after each hop.

Calls of the API are async and pass through one middleware. Pages are sync, with sessions and
all that belongs to them: a page is made in one hop to a thread.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelpilot.settings")  # noqa: TID251

import django

django.setup(set_prefix=False)

# ruff: noqa: E402 - Django first

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core import signals
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections, connections, reset_queries
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from servestatic import ServeStaticASGI

from modelpilot import checks
from modelpilot.api.gate import ALWAYS, Gate
from modelpilot.api.routes import is_call
from modelpilot.dashboard.static_files import compressed, typeface
from modelpilot.hop import run_in

# uvicorn runs none by itself, and `up` is not the only one who starts it.
checks.refuse()

# Whoever waits for a row that somebody has locked gives its thread back, and says 503.
connections.settings["default"]["OPTIONS"].setdefault("options", "-c lock_timeout=5s")

for signal in (signals.request_started, signals.request_finished):
    signal.disconnect(close_old_connections)
signals.request_started.disconnect(reset_queries)


# Fewer than the pool has connections: calls don't wait for pages.
threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="page")


class Handler(ASGIHandler):
    """Without a thread of its own for each request: what is left for one runs in a shared one."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self.handle(scope, receive, send)


class CallHandler(Handler):
    """For the API: nothing but its own middleware."""

    def load_middleware(self, is_async: bool = False) -> None:
        # Django takes them from the settings, and only here.
        every, settings.MIDDLEWARE = settings.MIDDLEWARE, settings.API_MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = every


class PageHandler(Handler):
    """For pages: middleware and view run in one thread, whose connection goes back after."""

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        return await run_in(threads, lambda: self.get_response(request))


class Site:
    """Hands each request to the one whose it is."""

    def __init__(self) -> None:
        self.calls, self.pages = CallHandler(), PageHandler()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        handler = self.calls if is_call(scope.get("path", "")) else self.pages
        await handler(scope, receive, send)


def always(headers: Any, path: str, url: str) -> None:
    """What the gate says of every answer, of static files."""
    for name, value in ALWAYS:
        headers[name.decode()] = value.decode()


application = ServeStaticASGI(
    Gate(Site()), max_age=3600, allow_all_origins=False, add_headers_function=always
)
storages = [each for finder in get_finders() for each in getattr(finder, "storages", {}).values()]
# Of files with one name the first that is found counts, and here the last that is added.
for storage in reversed(storages):
    folder = compressed(Path(storage.location), settings.CACHE)
    application.add_files(str(folder), prefix=settings.STATIC_URL)
application.add_files(
    str(typeface(settings.CACHE)), prefix=f"{settings.STATIC_URL}modelpilot/type/"
)
