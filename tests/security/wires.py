"""Requests byte by byte, as no library would send them."""

import re
import socket
from contextlib import suppress
from dataclasses import dataclass

from tests.system import System

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is 0 where there was none; `rest` is what came behind the first answer."""

    status: int
    head: bytes
    body: bytes
    rest: bytes = b""


def connect(system: System, timeout_s: float = 60) -> socket.socket:
    return socket.create_connection(("127.0.0.1", system.port), timeout=timeout_s)


def exchange(system: System, request: bytes, timeout_s: float = 60) -> Answer:
    """Send these bytes and read until the connection ends, or one answer is complete."""
    with connect(system, timeout_s) as wire:
        # It may be refused before its end, and the answer is there already.
        with suppress(ConnectionError):
            wire.sendall(request)
        return read(wire)


def read(wire: socket.socket) -> Answer:
    got = b""
    while not complete(got):
        try:
            piece = wire.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        got += piece
    return parsed(got)


def complete(got: bytes) -> bool:
    head, end, body = got.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    length = LENGTH.search(head)
    return bool(end and length and len(body) >= int(length[1]))


def parsed(got: bytes) -> Answer:
    head, _, body = got.partition(b"\r\n\r\n")
    status = int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0
    length = LENGTH.search(head)
    size = int(length[1]) if length else len(body)
    return Answer(status, head, body[:size], body[size:])


def request(
    method: str,
    path: str,
    *headers: bytes,
    key: str = "",
    body: bytes = b"",
    host: str = "localhost",
) -> bytes:
    """A well-formed request with more headers."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: " + host.encode(), *headers]
    if key:
        lines.append(b"Authorization: Bearer " + key.encode())
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
