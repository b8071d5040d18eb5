"""Requests to addresses that customers name, which must never reach what only we can reach.

A URL is read once, and its host resolved once; all its addresses must be public, and the
connection is made to one of just these. So neither an odd spelling nor a name that changes
its address (DNS rebinding) leads inside. Redirects are not followed, proxies of the
environment not used, and all of it ends after TIMEOUT_S.
"""

import functools
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore2
from django.conf import settings

TIMEOUT_S = 5.0
# An answer is read so far, to be polite to its sender; its words don't matter.
ANSWER_LIMIT = 64 * 1024
URL_LENGTH = 2000

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = {"https": 443, "http": 80}
PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without blanks and backslashes
NAME = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Browsers and C libraries read such a name as an IPv4 address: 2130706433, 0177.1, 0x7f.1.
NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")

# Beside what `ipaddress` says, whose lists differ between Python's versions.
NOT_PUBLIC_V4 = [
    ipaddress.IPv4Network(network)
    for network in """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
    192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
    224.0.0.0/4 240.0.0.0/4 168.63.129.16/32
    """.split()  # the last is Azure's own service, at a public address
]
# Only 2000::/3 is given to anybody: this leaves out mapped, NAT64, ULA, link-local, multicast.
PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
# Of that: Teredo and other protocols' own, documentation, 6to4, documentation.
NOT_PUBLIC_V6 = [
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]


class Refused(ValueError):
    """A URL that we don't call; the message is a predicate that says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in parts; `trusted` if the operator has listed its host."""

    scheme: str
    host: str
    port: int
    path: str
    trusted: bool


def parse(url: str) -> Target:
    """The parts of a URL that may be called as far as its spelling tells; else Refused."""
    if len(url) > URL_LENGTH or not PRINTABLE.fullmatch(url):
        raise Refused(f"must be a URL of at most {URL_LENGTH} ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("is not a valid URL") from None
    host = parts.hostname or ""
    trusted = host in settings.WEBHOOK_HTTP_HOSTS
    if parts.scheme != "https" and not (parts.scheme == "http" and trusted):
        raise Refused("must start with https://")
    if "@" in parts.netloc:
        raise Refused("must not contain a user name or password")
    check_host(host, trusted=trusted)
    if port is None:
        port = PORTS[parts.scheme]
    if not trusted and port != PORTS[parts.scheme] and port < 1024:
        raise Refused("must use port 443, or one above 1023")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path, trusted)


def check_host(host: str, *, trusted: bool) -> None:
    literal = literal_address(host)
    if literal is not None:
        check_public(literal, trusted=trusted)
    elif not NAME.fullmatch(host) or len(host) > 253 or NUMBER.fullmatch(host):
        raise Refused("must name a host that exists on the internet")
    elif "." not in host and not trusted:
        raise Refused("must name a host by its full name")


def literal_address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_public(address: Address, *, trusted: bool) -> None:
    if not trusted and not is_public(address):
        raise Refused("leads to an address that is not on the public internet")


def is_public(address: Address) -> bool:
    """Whether anybody on the internet may have this address."""
    if isinstance(address, ipaddress.IPv6Address):
        special = address not in PUBLIC_V6 or any(address in net for net in NOT_PUBLIC_V6)
    else:
        special = any(address in net for net in NOT_PUBLIC_V4)
    return not special and address.is_global and not address.is_multicast


def resolve(target: Target, deadline: float) -> list[str]:
    """The addresses of the target; Refused unless every one is public."""
    answer: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            answer.put([str(entry[4][0]) for entry in found])
        except (OSError, UnicodeError):
            answer.put([])

    # The resolver has its own patience, far longer than ours; it can only be left behind.
    threading.Thread(target=ask, daemon=True).start()
    try:
        addresses = answer.get(timeout=remaining(deadline))
    except queue.Empty:
        addresses = []
    if not addresses:
        raise Refused("names a host that can't be found")
    for address in addresses:
        check_public(ipaddress.ip_address(address), trusted=target.trusted)
    return addresses


def post(url: str, headers: list[tuple[bytes | str, bytes | str]], body: bytes) -> int:
    """The status of the answer. Raises Refused, or one of `FAILURES`."""
    target = parse(url)
    deadline = time.monotonic() + TIMEOUT_S
    backend = Pinned(resolve(target, deadline), deadline)
    address = httpcore2.URL(
        scheme=target.scheme, host=target.host, port=target.port, target=target.path
    )
    context = tls() if target.scheme == "https" else None
    with (
        httpcore2.ConnectionPool(ssl_context=context, network_backend=backend) as pool,
        pool.stream("POST", address, headers=headers, content=body) as response,
    ):
        read(response.iter_stream())
        return int(response.status)


FAILURES = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    OSError,
)


def read(chunks: Iterable[bytes]) -> None:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size >= ANSWER_LIMIT:
            return


@functools.cache
def tls() -> ssl.SSLContext:
    """The machine's certificates; reading them takes longer than a request."""
    return httpcore2.default_ssl_context()


class Pinned(httpcore2.NetworkBackend):
    """Connects to the given addresses only, whatever the name is by now."""

    def __init__(self, addresses: list[str], deadline: float) -> None:
        self.addresses = addresses
        self.deadline = deadline
        self.sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception = httpcore2.ConnectError("no address")
        for address in self.addresses:
            try:
                stream = self.sockets.connect_tcp(address, port, remaining(self.deadline))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return Hurried(stream, self.deadline)
        raise failure


class Hurried(httpcore2.NetworkStream):
    """A connection with one deadline for everything: one that drips can't hold us."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self.stream = stream
        self.deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, remaining(self.deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), 16384):
            self.stream.write(buffer[start : start + 16384], remaining(self.deadline))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        secure = self.stream.start_tls(ssl_context, server_hostname, remaining(self.deadline))
        return Hurried(secure, self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


def remaining(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore2.ReadTimeout("no time left")
    return seconds
