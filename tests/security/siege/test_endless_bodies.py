"""Bodies without end, and ones that come a byte at a time: nothing fills, and nobody waits."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

import psutil
import pytest
import requests

from tests.leftovers import eventually
from tests.security.conftest import Cast, Visitor
from tests.security.wires import Answer, connect, read, request
from tests.system import System

GIGABYTE = 1_000_000_000
PIECE = b"10000\r\n" + b" " * 65536 + b"\r\n"
PATHS = ("/api/v1/chat/completions", "/v1/images/edits", "/accounts/login/", "/api/v1/nothing")


def resident(system: System) -> int:
    web = system.child("web")
    assert web is not None
    found: int = psutil.Process(web.pid).memory_info().rss
    return found


def spooled(system: System) -> int:
    """Bytes in files without a name that the web process has open, where bodies are spooled."""
    web = system.child("web")
    assert web is not None
    total = 0
    for file in Path(f"/proc/{web.pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if file.readlink().is_relative_to(gettempdir()) and not file.stat().st_nlink:
                total += file.stat().st_size
    return total


def stored(system: System) -> int:
    """Bytes in the data directory, but for PostgreSQL's log of what it writes, in whole pieces."""
    total = 0
    for path in system.data.rglob("*"):
        with suppress(OSError):
            if path.is_file() and "pg_wal" not in path.parts:
                total += path.stat().st_size
    return total


def poured(system: System, head: bytes, piece: bytes) -> tuple[int, Answer]:
    """How much of a gigabyte was taken, and what was answered."""
    sent = 0
    with connect(system, 120) as wire:
        wire.sendall(head)
        try:
            while sent < GIGABYTE:
                wire.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        try:
            return sent, read(wire)
        except OSError:
            return sent, Answer(0, b"", b"")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("who", ["alice", "nobody"])
def test_a_gigabyte_is_cut_off(
    system: System,
    cast: Cast,
    path: str,
    who: str,
    record_property: Callable[[str, object], None],
) -> None:
    """In chunks, so that nobody can know how much there will be."""
    key = cast.alice.key if who == "alice" else ""
    memory, disk = resident(system), stored(system)
    most = threading.Event()
    peak, spool = [0], [0]

    def watch() -> None:
        while not most.wait(0.02):
            peak[0] = max(peak[0], resident(system) - memory)
            spool[0] = max(spool[0], spooled(system))

    watcher = threading.Thread(target=watch)
    watcher.start()
    headers = (b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    sent, answer = poured(system, request("POST", path, *headers, key=key), PIECE)
    most.set()
    watcher.join()

    # Ten MiB are read, and some lie in the kernel; then the connection is closed.
    assert sent < 40_000_000
    assert answer.status in (0, 401, 403, 404, 413), answer
    assert peak[0] < 80_000_000
    assert spool[0] < 20_000_000
    eventually(lambda: spooled(system) == 0)
    # The database and the log write a little of their own.
    assert stored(system) - disk < 10_000_000
    if key:
        record_property(
            "reached",
            f"of 1 GB {sent / 1e6:.0f} MB taken, {peak[0] / 1e6:.0f} MB more memory, on disk "
            f"{spool[0] / 1e6:.0f} MB at most and {spooled(system)} B afterwards",
        )


def test_a_gigabyte_that_is_announced_is_refused_before_it_comes(
    system: System, cast: Cast
) -> None:
    for path in PATHS:
        head = request("POST", path, b"Content-Length: 1000000000", key=cast.alice.key)
        with connect(system) as wire:
            wire.sendall(head)
            started = time.monotonic()
            answer = read(wire)
        assert answer.status in (403, 404, 413)
        assert time.monotonic() - started < 10


@pytest.fixture
def crowd(system: System) -> int:
    """How many connections do nothing, or next to it."""
    return 200


def test_who_sends_nothing_is_left(system: System, cast: Cast, crowd: int) -> None:
    """Two hundred heads and bodies that never come keep nobody else waiting, and end."""
    visitor = Visitor(system.base_url, cast.charlie.key)
    quick = timed(visitor)
    slow: list[socket.socket] = []
    body = request(
        "POST", PATHS[0], b"Content-Length: 1000", b"Content-Type: application/json",
        key=cast.charlie.key,
    )  # fmt: skip
    try:
        for number in range(crowd):
            wire = connect(system, 40)
            wire.sendall((b"", b"GET / HTTP/1.1\r\nX-A: ", body, body + b"{")[number % 4])
            slow.append(wire)
        started = time.monotonic()
        beside = [timed(visitor) for _ in range(20)]
        assert sorted(beside)[10] < max(1.0, 20 * quick)
        answers = [read(wire).status for wire in slow]
        assert time.monotonic() - started < 60
        assert set(answers) == {408}
    finally:
        for wire in slow:
            wire.close()


def timed(visitor: Visitor) -> float:
    started = time.monotonic()
    assert visitor.get("/api/v1/balance").status_code == 200
    return time.monotonic() - started


def test_a_body_that_drips_is_no_ones_trouble(system: System, cast: Cast) -> None:
    """A byte every few seconds is progress; its connection waits, and nothing else does."""
    visitor = Visitor(system.base_url, cast.charlie.key)
    head = request("POST", PATHS[0], b"Content-Length: 1000", key=cast.charlie.key)
    drops = [connect(system) for _ in range(50)]
    try:
        for wire in drops:
            wire.sendall(head)
        for _ in range(5):
            time.sleep(1)
            for wire in drops:
                wire.sendall(b" ")
            assert timed(visitor) < 10
    finally:
        for wire in drops:
            wire.close()
    assert requests.get(f"{system.base_url}/readyz", timeout=10).json()["status"] == "ready"


def test_nothing_is_left_in_the_folder_for_temporary_files(system: System) -> None:
    """Bodies are spooled there, and go with their request."""
    web = system.child("web")
    assert web is not None
    spooled = [file.path for file in web.open_files() if Path(file.path).is_relative_to("/tmp")]
    assert [path for path in spooled if not Path(path).is_relative_to(system.data.parent)] == []
