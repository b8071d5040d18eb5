"""Heads that are too long, don't end, or say two things at once."""

import json

import pytest

from tests.security.conftest import Cast
from tests.security.wires import connect, exchange, read, request
from tests.system import System

CHAT = "/api/v1/chat/completions"
BODY = b'{"model": "echo", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}'
ENDLESS = {
    "a header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"a" * 65536),
    "headers": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-A: b\r\n" * 8192),
    "an address": (b"GET /", b"a" * 65536),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_an_endless_head_is_cut_off(system: System, what: str) -> None:
    start, more = ENDLESS[what]
    sent = len(start)
    with connect(system) as wire:
        wire.sendall(start)
        with pytest.raises(ConnectionError):
            while sent < 200_000_000:
                wire.sendall(more)
                sent += len(more)
    # What the kernel holds for both sides, and no more.
    assert sent < 20_000_000


def test_a_long_head_is_told_so(system: System) -> None:
    fine = exchange(system, request("GET", "/healthz", b"X-A: " + b"a" * 30_000))
    assert fine.status == 200
    with connect(system) as wire:
        # In two parts, so that its end is not there yet when it is too long.
        wire.sendall(b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * 70_000)
        answer = read(wire)
    assert answer.status == 431
    assert json.loads(answer.body)["error"]["code"] == "head_too_large"


def test_trailers_are_read_by_nobody(system: System, cast: Cast) -> None:
    chunked = (
        b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY) + b"Authorization: Bearer x\r\n" * 3 + b"\r\n"
    )
    head = request("POST", CHAT, b"Transfer-Encoding: chunked", key=cast.charlie.key)
    assert exchange(system, head + chunked).status == 402, "charlie's key counts, and has no money"


SMUGGLED = request("GET", "/api/v1/models")
TWO_THINGS = {
    "a length and chunks": [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    "chunks and a length": [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
    "two lengths": [b"Content-Length: 0", b"Content-Length: 5"],
    "a length with a sign": [b"Content-Length: +5"],
    "a negative length": [b"Content-Length: -5"],
    "a length in hex": [b"Content-Length: 0x5"],
    "lengths in a list": [b"Content-Length: 5, 6"],
    "chunks not last": [b"Transfer-Encoding: chunked, identity"],
    "another coding": [b"Transfer-Encoding: xchunked"],
    "identity": [b"Transfer-Encoding: identity", b"Content-Length: 5"],
    "a blank before the colon": [b"Transfer-Encoding : chunked", b"Content-Length: 5"],
    "a folded line": [b"X-A: b\r\n Transfer-Encoding: chunked", b"Content-Length: 5"],
    "a bare CR": [b"X-A: b\rTransfer-Encoding: chunked", b"Content-Length: 5"],
    "a bare LF": [b"X-A: b\nTransfer-Encoding: chunked", b"Content-Length: 5"],
    "a NUL": [b"Transfer-Encoding: chunked\x00", b"Content-Length: 5"],
}


@pytest.mark.parametrize("what", TWO_THINGS)
def test_nothing_is_smuggled_behind_a_request(system: System, cast: Cast, what: str) -> None:
    """Where two servers read the end of a request differently, the rest becomes another's."""
    head = request("POST", CHAT, *TWO_THINGS[what], key=cast.charlie.key)
    answer = exchange(system, head + b"0\r\n\r\n" + SMUGGLED)
    assert answer.status == 400
    assert b"connection: close" in answer.head.lower()
    assert answer.rest == b""


@pytest.mark.parametrize("name", ["x-request-id", "Idempotency-Key", "Prefer", "Cookie"])
def test_no_header_makes_another(system: System, cast: Cast, name: str) -> None:
    for value in (b"a\r\nSet-Cookie: x=1", b"a\rSet-Cookie: x=1", b"a\nSet-Cookie: x=1",
                  b"a%0d%0aSet-Cookie: x=1", b"a\xe5\x98\x8d\xe5\x98\x8aSet-Cookie: x=1",
                  b"\xff\xfe", b"a" * 8000, b"<script>", b"${jndi:ldap://x}"):  # fmt: skip
        header = name.encode() + b": " + value
        answer = exchange(system, request("POST", CHAT, header, key=cast.charlie.key, body=BODY))
        assert answer.status in (400, 402, 422), value
        assert b"set-cookie" not in answer.head.lower()
        assert b"jndi" not in answer.head
        if name == "x-request-id" and answer.status == 402:
            assert value not in answer.head


def test_the_method_is_what_the_first_line_says(system: System, cast: Cast) -> None:
    job = f"/api/v1/jobs/{cast.things['text']}"
    for name in (b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override"):
        override = request("POST", job, name + b": DELETE", key=cast.alice.key, body=b"{}")
        assert exchange(system, override).status == 405
        hidden = request("POST", f"{job}?_method=DELETE", key=cast.alice.key, body=b"{}")
        assert exchange(system, hidden).status == 405
    assert exchange(system, request("GET", job, key=cast.alice.key)).status == 200


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", "FOO", "A" * 5000])
def test_other_methods_change_and_show_nothing(system: System, cast: Cast, method: str) -> None:
    for path in ("/api/v1/webhooks", "/static/modelpilot/site.css", "/dashboard/keys/"):
        secret = request(method, path, b"X-Secret: hush", key=cast.alice.key)
        answer = exchange(system, secret)
        assert answer.status in (302, 400, 403, 405), path
        assert b"hush" not in answer.head + answer.body


def test_an_upgrade_is_not_made(system: System, cast: Cast) -> None:
    headers = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13",
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
    answer = exchange(system, request("GET", "/api/v1/models", *headers, key=cast.alice.key))
    assert answer.status == 200
