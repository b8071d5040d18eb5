"""The web process: Django behind the gate, without what Django does for sync code.

Measured: Django's ASGI handler starts and joins a thread for every request, to run
receivers that close connections. Our routes hand theirs back after each hop.
"""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelpilot.settings")  # noqa: TID251

import django

django.setup(set_prefix=False)

# ruff: noqa: E402 - Django first

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core import signals
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections, reset_queries
from servestatic import ServeStaticASGI

from modelpilot import checks
from modelpilot.api.gate import Gate

# uvicorn runs none by itself, and `up` is not the only one who starts it.
checks.refuse()

for signal in (signals.request_started, signals.request_finished):
    signal.disconnect(close_old_connections)
signals.request_started.disconnect(reset_queries)


class Handler(ASGIHandler):
    """Without a thread of its own for each request: what is left for one runs in a shared one."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self.handle(scope, receive, send)


application = ServeStaticASGI(Gate(Handler()), max_age=3600)
for finder in get_finders():
    for storage in getattr(finder, "storages", {}).values():
        application.add_files(storage.location, prefix=settings.STATIC_URL)
