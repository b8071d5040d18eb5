"""Requests as they come over the wire: uvicorn's own protocol, with an end to every head.

uvicorn waits for ever for the rest of a request's head (its first line and its headers), and
keeps all that came of it: 100 MB of headers took 1.6 GB from the web process, and no key was
needed. What comes after a head is the gate's to watch (see modelpilot.api.gate).
"""

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from modelpilot.errors import ApiError

# Browsers and programs send one or two KB; the longest that servers usually take is 32.
HEAD_LIMIT = 64 * 1024
HEAD_TIMEOUT_S = 15.0


class Wire(HttpToolsProtocol):
    """One connection. `head` is how much of a request's head has come; None behind it."""

    head: int | None = 0
    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.head is not None:
            self.head += len(data)
        super().data_received(data)
        if self.head is not None and self.head > HEAD_LIMIT:
            self.refuse(431, "head_too_large", "The request's headers are too long. Send fewer.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.deadline is None:
            self.start_clock()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind the head come trailers, which nobody here reads.
        if self.head is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.stop_clock()
        self.head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        # From here on it is the next one's. While none begins, uvicorn's own clock runs.
        self.head = 0

    def start_clock(self) -> None:
        self.deadline = self.loop.call_later(HEAD_TIMEOUT_S, self.give_up)

    def stop_clock(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def give_up(self) -> None:
        if self.is_answering:
            # Whoever is being answered may take their time with the next request.
            self.start_clock()
            return
        message = f"The request's headers did not come within {HEAD_TIMEOUT_S:g} seconds."
        self.refuse(408, "request_timeout", message)

    @property
    def is_answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete

    def refuse(self, status: int, code: str, message: str) -> None:
        """Answer in the envelope, unless another answer is on its way, and hang up."""
        self.stop_clock()
        if not self.is_answering and not self.transport.is_closing():
            self.transport.write(answer(ApiError(status, code, message)))
        self.transport.close()


def answer(error: ApiError) -> bytes:
    body = orjson.dumps(error.body())
    return (
        STATUS_LINE[error.status]
        + b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        % len(body)
        + body
    )
