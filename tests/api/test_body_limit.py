"""Bodies over 10 MiB are refused, declared or not, without being taken in."""

import socket
import time
from collections.abc import Iterator

from tests.api.caller import Caller, error_of
from tests.system import System

LIMIT = 10 * 1024 * 1024


def pieces(total: int) -> Iterator[bytes]:
    for _ in range(0, total, 65536):
        yield b" " * 65536


def test_a_body_that_says_it_is_too_large_is_413(alice: Caller) -> None:
    response = alice.send("POST", "chat/completions", data=b" " * (LIMIT + 1))
    error_of(response, 413, "request_too_large")


def test_a_body_in_chunks_is_counted(alice: Caller) -> None:
    response = alice.send("POST", "chat/completions", data=pieces(LIMIT + 65536))
    error_of(response, 413, "request_too_large")


def test_a_body_at_the_limit_is_read(alice: Caller) -> None:
    body = b'{"model": "echo", "user": "' + b"x" * (LIMIT - 29) + b'"}'
    assert len(body) == LIMIT
    response = alice.send("POST", "chat/completions", data=body)
    assert error_of(response, 422, "missing_required_parameter")["param"] == "messages"


def test_it_is_refused_before_it_is_sent(system: System, alice: Caller) -> None:
    with socket.create_connection(("127.0.0.1", system.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: Bearer " + alice.key.encode() + b"\r\n"
            b"Content-Length: 1000000000000\r\n\r\n"
        )
        started = time.monotonic()
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
        assert time.monotonic() - started < 2
