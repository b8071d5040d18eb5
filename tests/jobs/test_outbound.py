"""Calls to addresses of customers reach the public internet only, and end in time."""

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from modelpilot.jobs import outbound
from tests.receiver import Receiver, receiver

Record = Callable[[str, object], None]
PUBLIC = "93.184.215.14"

# `PORT` becomes that of a socket which listens on all addresses of this machine.
INSIDE = """
https://127.0.0.1:PORT/
https://127.0.0.1/
https://127.1:PORT/
https://127.0.1:PORT/
https://2130706433:PORT/
https://0x7f000001:PORT/
https://0x7f.0.0.1:PORT/
https://0x7f.1:PORT/
https://017700000001:PORT/
https://0177.0.0.1:PORT/
https://0177.0.0.01:PORT/
https://127.0.0.0x1:PORT/
https://127.000.000.001:PORT/
https://127.0.0.1.:PORT/
https://0.0.0.0:PORT/
https://0:PORT/
https://0.1.2.3:PORT/
https://10.0.0.1:PORT/
https://100.64.0.1:PORT/
https://100.100.100.200/latest/meta-data/
https://169.254.169.254/latest/meta-data/
https://168.63.129.16/
https://172.16.0.1:PORT/
https://172.31.255.255:PORT/
https://192.0.0.192/
https://192.0.2.1:PORT/
https://192.88.99.1:PORT/
https://192.168.0.1:PORT/
https://198.18.0.1:PORT/
https://198.51.100.1:PORT/
https://203.0.113.1:PORT/
https://224.0.0.1:PORT/
https://240.0.0.1:PORT/
https://255.255.255.255:PORT/
https://[::]:PORT/
https://[::1]:PORT/
https://[0:0:0:0:0:0:0:1]:PORT/
https://[::127.0.0.1]:PORT/
https://[::ffff:127.0.0.1]:PORT/
https://[::ffff:7f00:1]:PORT/
https://[::ffff:8.8.8.8]:PORT/
https://[::ffff:0:127.0.0.1]:PORT/
https://[64:ff9b::127.0.0.1]:PORT/
https://[64:ff9b::7f00:1]:PORT/
https://[64:ff9b:1::7f00:1]:PORT/
https://[2002:7f00:1::]:PORT/
https://[2002:a00:1::1]:PORT/
https://[2001:0:4136:e378:8000:63bf:80ff:fffe]:PORT/
https://[2001:10::1]:PORT/
https://[2001:db8::1]:PORT/
https://[3fff::1]:PORT/
https://[5f00::1]:PORT/
https://[100::1]:PORT/
https://[fc00::1]:PORT/
https://[fd00:ec2::254]/latest/meta-data/
https://[fe80::1]:PORT/
https://[fe80::1%25eth0]:PORT/
https://[fec0::1]:PORT/
https://[ff02::1]:PORT/
https://localhost:PORT/
https://LOCALHOST:PORT/
https://localhost.:PORT/
https://intranet:PORT/
https://user@example.com:PORT/
https://user:password@example.com:PORT/
https://example.com:PORT@127.0.0.1:PORT/
https://127.0.0.1:PORT#@example.com/
https://127.0.0.1:PORT\\@example.com/
https://127%2e0%2e0%2e1:PORT/
https://①②⑦.⓪.⓪.①:PORT/
https://exa mple.com:PORT/
https://-:PORT/
https://.:PORT/
https://:PORT/
https:///hook
https:127.0.0.1:PORT
https://example.com:0/
https://example.com:22/
https://example.com:25/
https://example.com:65536/
https://example.com:x/
https://[::1/
http://example.com/
http://127.0.0.1:PORT/
HTTP://127.0.0.1:PORT/
ftp://example.com/
file:///etc/passwd
gopher://127.0.0.1:PORT/_x
unix:///run/docker.sock
//127.0.0.1:PORT/
127.0.0.1:PORT
javascript:alert(1)
""".split("\n")[1:-1]

# Names whose owner chose these addresses for them.
RESOLVED = {
    "loopback.example.com": ["127.0.0.1"],
    "loopback6.example.com": ["::1"],
    "mapped.example.com": ["::ffff:127.0.0.1"],
    "nat64.example.com": ["64:ff9b::7f00:1"],
    "metadata.example.com": ["169.254.169.254"],
    "private.example.com": ["10.1.2.3"],
    "shared.example.com": ["100.64.1.1"],
    "zero.example.com": ["0.0.0.0"],
    "half.example.com": [PUBLIC, "127.0.0.1"],
    "other-half.example.com": [PUBLIC, "::1"],
    "nowhere.example.com": [],
}


class Wire:
    """Sees each connection that this process begins, and lets only some of them begin."""

    def __init__(self) -> None:
        self.watched = False
        self.connections: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.watched and event == "socket.connect":
            address = str(arguments[1][0])
            self.connections.append(address)
            if address != "127.0.0.1":
                raise ConnectionRefusedError("nothing leaves the tests")


WIRE = Wire()


@pytest.fixture
def wire() -> Iterator[Wire]:
    WIRE.connections = []
    WIRE.watched = True
    yield WIRE
    WIRE.watched = False


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Names and the answers that they get, one after the other; the last one stays."""
    answers: dict[str, list[list[str]]] = {}
    ask = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
        if outbound.literal_address(host):  # no question to anybody
            return ask(host, port, *rest, **more)
        queue = answers[host]
        addresses = queue.pop(0) if len(queue) > 1 else queue[0]
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "",
             (address, port))
            for address in addresses
        ]  # fmt: skip

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as mine:
        yield mine


def post(url: str) -> int:
    return outbound.post(url, [("content-type", "application/json")], b"{}")


def test_the_corpus_leads_to_no_connection(wire: Wire, record_property: Record) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        called = []
        for url in INSIDE:
            try:
                post(url.replace("PORT", str(port)))
            except outbound.Refused:
                continue
            called.append(url)
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert called == []
    assert wire.connections == []
    assert len(INSIDE) >= 40
    record_property("reached", f"{len(wire.connections)} connections by {len(INSIDE)} addresses")


@pytest.mark.parametrize("name", RESOLVED)
def test_a_name_that_leads_inside_is_refused(
    wire: Wire, resolver: dict[str, list[list[str]]], name: str, record_property: Record
) -> None:
    resolver[name] = [RESOLVED[name]]
    outbound.parse(f"https://{name}/")  # its spelling is fine

    with pytest.raises(outbound.Refused):
        post(f"https://{name}/")

    assert wire.connections == []
    record_property("reached", f"{len(wire.connections)} by a name that leads inside")


def test_a_name_that_changes_its_address_is_asked_once(
    wire: Wire,
    resolver: dict[str, list[list[str]]],
    hook: Receiver,
    record_property: Record,
) -> None:
    resolver["rebinding.example.com"] = [[PUBLIC], ["127.0.0.1"]]

    with pytest.raises(outbound.FAILURES):
        post(f"https://rebinding.example.com:{hook.port}/")

    assert wire.connections == [PUBLIC]
    assert resolver["rebinding.example.com"] == [["127.0.0.1"]]
    assert hook.received == []
    inside = [address for address in wire.connections if address != PUBLIC]
    record_property("reached", f"{len(inside)} inside by a name that changes its mind")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hook?token=a%20b",
        "https://example.com:443/",
        "https://example.com:8443/",
        "https://xn--bcher-kva.example/",
        "https://a_b.example.com/",
        "https://93.184.215.14/",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "HTTPS://EXAMPLE.COM/",
    ],
)
def test_public_addresses_are_fine(url: str) -> None:
    assert outbound.parse(url).scheme == "https"


def test_long_and_strange_urls_are_refused() -> None:
    long = "https://example.com/" + "a" * 2000
    for url in (long, "https://example.com/\n", "https://ex\tample.com", ""):
        with pytest.raises(outbound.Refused):
            outbound.parse(url)


def test_listed_hosts_may_be_inside(settings: Settings, hook: Receiver, wire: Wire) -> None:
    settings.WEBHOOK_HTTP_HOSTS = frozenset({"127.0.0.1"})

    assert post(hook.url) == 200

    assert wire.connections == ["127.0.0.1"]
    assert hook.received[0].path == "/hook"


def test_redirects_are_not_followed(settings: Settings, hook: Receiver) -> None:
    settings.WEBHOOK_HTTP_HOSTS = frozenset({"127.0.0.1"})

    def away(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", hook.url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    hook.answers = [away]

    assert post(hook.url) == 307
    assert len(hook.received) == 1


def test_proxies_of_the_environment_are_not_used(
    settings: Settings, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBHOOK_HTTP_HOSTS = frozenset({"127.0.0.1"})
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(hook.url) == 200
        assert proxy.received == []
    assert len(hook.received) == 1


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A header that never ends, a letter at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(100):
        handler.wfile.write(b"a")
        handler.wfile.flush()
        time.sleep(0.1)


def nothing(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def flood(handler: BaseHTTPRequestHandler) -> None:
    """A body without end, until its reader hangs up."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x" * 65536)


@pytest.mark.parametrize("answer", [drip, nothing])
def test_a_slow_receiver_is_left(
    settings: Settings, hook: Receiver, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    settings.WEBHOOK_HTTP_HOSTS = frozenset({"127.0.0.1"})
    monkeypatch.setattr(outbound, "TIMEOUT_S", 1.0)
    hook.answers = [answer]
    started = time.monotonic()

    with pytest.raises(outbound.FAILURES):
        post(hook.url)

    assert 0.9 < time.monotonic() - started < 2


def test_a_slow_resolver_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(outbound, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    started = time.monotonic()

    with pytest.raises(outbound.Refused, match="can't be found"):
        post("https://slow.example.com/")

    assert time.monotonic() - started < 2
    over.set()


def test_of_a_flood_only_the_beginning_is_read(settings: Settings, hook: Receiver) -> None:
    settings.WEBHOOK_HTTP_HOSTS = frozenset({"127.0.0.1"})
    hook.answers = [flood]
    started = time.monotonic()

    assert post(hook.url) == 200

    assert time.monotonic() - started < 2


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate and key of hooks.example.com, made by nobody that anybody trusts."""
    path = tmp_path / "certificate.pem"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 "
        "-subj /CN=hooks -addext subjectAltName=DNS:hooks.example.com "
        f"-keyout {path}.key -out {path}".split(),
        check=True,
        capture_output=True,
    )
    return path


def test_the_name_is_proved_though_the_address_is_pinned(
    settings: Settings,
    resolver: dict[str, list[list[str]]],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.WEBHOOK_HTTP_HOSTS = frozenset({"hooks.example.com", "other.example.com"})
    resolver["hooks.example.com"] = resolver["other.example.com"] = [["127.0.0.1"]]
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, f"{certificate}.key")
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with receiver(context) as hook:
        try:
            outbound.tls.cache_clear()
            with pytest.raises(outbound.FAILURES, match="CERTIFICATE_VERIFY_FAILED"):
                post(f"https://hooks.example.com:{hook.port}/")
            assert hook.received == []
            monkeypatch.setitem(os.environ, "SSL_CERT_FILE", str(certificate))
            outbound.tls.cache_clear()
            assert post(f"https://hooks.example.com:{hook.port}/") == 200
            with pytest.raises(outbound.FAILURES, match="CERTIFICATE_VERIFY_FAILED"):
                post(f"https://other.example.com:{hook.port}/")
        finally:
            outbound.tls.cache_clear()

    assert names == ["hooks.example.com", "hooks.example.com", "other.example.com"]
    assert [message.headers["host"] for message in hook.received] == [
        f"hooks.example.com:{hook.port}"
    ]
