"""The outermost ASGI layer: request ids, body limits, and headers that every response has."""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest

from modelpilot import logs
from modelpilot.api.admission import admission, overloaded
from modelpilot.api.record import record
from modelpilot.errors import ApiError

Scope = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SANE_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,100}")
# What every answer says, files of ours too.
ALWAYS = [(b"x-content-type-options", b"nosniff")]
if settings.SECURE_HSTS_SECONDS:
    ALWAYS.append(
        (b"strict-transport-security", f"max-age={settings.SECURE_HSTS_SECONDS}".encode())
    )
# A client that has read nothing for so long has left, whatever its kernel says.
STALLED_S = 300.0
# A whole body for Django when there is none, or when it must not see one.
NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}


class Gate:
    """Wraps Django, which would take in a whole body before any limit could be checked.

    A body that is too large or too slow is cut off here and its scope marked, so that
    the refusal still comes in the contract's order: a missing key is answered first.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"")
        if not SANE_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex.encode()
        scope["modelpilot.request_id"] = request_id.decode()
        logs.request_id.set(request_id.decode())
        scope["modelpilot.headers"] = {}
        body = Body(scope, receive, headers.get(b"content-length"))
        started = time.perf_counter()
        status: int | None = None
        complete = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id),
                    *ALWAYS,
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in scope["modelpilot.headers"].items()
                    ),
                ]
                if "modelpilot.refused_body" in scope:
                    # The rest of it is still on its way.
                    message["headers"].append((b"connection", b"close"))
            await send_or_hang_up(send, message)
            complete = message["type"] == "http.response.body" and not message.get("more_body")

        admitted = admission.admits(scope.get("path", ""))
        admission.open += admitted
        try:
            application = self.application if admitted else refuse
            await application(scope, body.receive, send_with_headers)
        finally:
            admission.open -= admitted
            record(scope, status, complete, time.perf_counter() - started)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """503, without a look at the request; calls get it in the one envelope."""
    error = overloaded()
    scope["modelpilot.route"] = "overloaded"
    kind, content = b"text/plain; charset=utf-8", error.message.encode()
    if is_api(scope.get("path", "")):
        kind, content = b"application/json", orjson.dumps(error.body())
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(content)).encode()),
        (b"retry-after", error.headers["Retry-After"].encode()),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def send_or_hang_up(send: Send, message: Message) -> None:
    """Send, for at most STALLED_S: a reader that has stalled would be kept for ever.

    Hanging up is to whoever answers as if the client had left.
    """
    try:
        async with asyncio.timeout(STALLED_S):
            await send(message)
    except TimeoutError:
        # ASGI has no word for it, and closing politely would wait for the reader, too.
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is None:
            raise
        transport.abort()


def is_api(path: str) -> bool:
    return path.startswith(("/api/", "/v1/", "/outputs/"))


class Body:
    """Hands a request's body on, as far as it is allowed to go."""

    def __init__(self, scope: Scope, receive: Receive, length: bytes | None) -> None:
        self.scope = scope
        self.source = receive
        self.declared = int(length) if length and length.isdigit() else 0
        self.count = 0
        self.complete = False

    async def receive(self) -> Message:
        if self.complete:
            return await self.wait_for_disconnect()
        if self.declared > settings.BODY_LIMIT:
            return self.refuse("too_large")
        try:
            async with asyncio.timeout(settings.BODY_TIMEOUT_S):
                message = await self.source()
        except TimeoutError:
            return self.refuse("too_slow")
        self.count += len(message.get("body", b""))
        if self.count > settings.BODY_LIMIT:
            return self.refuse("too_large")
        self.complete = not message.get("more_body", False)
        return message

    async def wait_for_disconnect(self) -> Message:
        if "modelpilot.refused_body" in self.scope:
            # To listen is to read, and the rest of it would come for as long as the answer takes.
            # Django stops waiting once it has answered.
            await asyncio.Event().wait()
        while True:
            message = await self.source()
            if message["type"] == "http.disconnect":
                return message

    def refuse(self, reason: str) -> Message:
        self.scope["modelpilot.refused_body"] = reason
        self.complete = True
        return NO_BODY


def check_body(request: HttpRequest) -> None:
    """Refuse what the gate has cut off."""
    reason = request.scope.get("modelpilot.refused_body")  # type: ignore[attr-defined]
    if reason == "too_large":
        megabytes = settings.BODY_LIMIT // 1024 // 1024
        raise ApiError(
            413,
            "request_too_large",
            f"The request's body is larger than {megabytes} MiB. Send a smaller one.",
        )
    if reason == "too_slow":
        raise ApiError(
            408,
            "request_timeout",
            f"No part of the body came for {settings.BODY_TIMEOUT_S:g} seconds. Send it again.",
        )


def request_id(request: HttpRequest) -> str:
    return str(request.scope["modelpilot.request_id"])  # type: ignore[attr-defined]
