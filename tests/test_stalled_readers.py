"""A hundred clients that never read their streams: they cost little, and nobody else notices."""

import json
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from modelpilot import embedded
from tests.api.caller import Caller
from tests.leftovers import eventually
from tests.system import CATALOG, System, product

READERS = 100
TOKENS = 800
WORD = "x" * 1500
MEGABYTES = 50
# As over the internet: on the loopback the kernel alone would take megabytes for each.
SEGMENT = 536
CARD = """
["echo:crowd"]
kind = "text"
engine = "echo"
name = "Echo for many"
licence = "none"
memory_mb = 100
price = "0.001"
slots = 128
context = 4096
load_seconds = 0.5
run_seconds = 20
options = { tokens_per_second = 40 }
"""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    cards = tmp_path / "cards.toml"
    cards.write_text(CARD)
    with product(MODELPILOT_CATALOG=f"{CATALOG},{cards}") as system:
        yield system.start()


def stalled(alice: Caller, port: int, number: int) -> socket.socket:
    """A client that asks for a stream, and reads nothing of it."""
    body = json.dumps(
        {
            "model": "echo:crowd",
            "messages": [{"role": "user", "content": f"{number}-{WORD} "}],
            "max_tokens": TOKENS,
            "stream": True,
        }
    )
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
    client.connect(("127.0.0.1", port))
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {alice.key}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body.encode())
    return client


def read_all(client: socket.socket) -> str:
    """What it would have read."""
    client.settimeout(60)
    received = bytearray()
    while piece := client.recv(1 << 20):
        received += piece
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert b" 200 " in head, head
    events = [line[6:] for line in dechunked(body).split(b"\n\n") if line.startswith(b"data: ")]
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )


def dechunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(parts)


def latency(caller: Caller) -> float:
    """Seconds of a short chat, in the middle of twenty."""
    seconds = []
    for number in range(20):
        begun = time.monotonic()
        assert caller.chat(f"hello {number}").status_code == 200
        seconds.append(time.monotonic() - begun)
    return statistics.median(seconds)


def test_they_cost_little_and_nobody_else_notices(system: System, record_property: Any) -> None:
    alice = Caller(system.base_url, system.account("alice@example.com", "10"))
    dora = Caller(system.base_url, system.account("dora@example.com", "10"))
    warm(dora)
    child = system.child("web")
    assert child is not None
    web = psutil.Process(child.pid)
    alone = latency(dora)
    before = web.memory_info().rss
    clients = [stalled(alice, system.port, number) for number in range(READERS)]
    most, beside = before, []
    try:
        eventually(lambda: states(system)["running"] > READERS / 2, 120)
        while states(system)["running"]:
            most = max(most, web.memory_info().rss)
            beside.append(latency(dora))
        most = max(most, web.memory_info().rss)
        # Their jobs are done and paid for, whoever reads them.
        assert states(system) == {"running": 0, "queued": 0, "succeeded": READERS}
        grown = (most - before) / 1e6
        # And who begins to read after all lacks nothing.
        for number in (0, READERS - 1):
            assert read_all(clients[number]) == f"{number}-{WORD} " * TOKENS
    finally:
        for client in clients:
            client.close()
    ratio = statistics.median(beside) / alone
    assert grown < MEGABYTES
    # The hundred streams are work, too; but nobody waits for those who don't read.
    assert ratio < 10
    eventually(lambda: alice.held() == 0)
    assert "The books are proved." in system.manage("reconcile")
    record_property(
        "reached",
        f"{READERS} stalled readers cost {grown:.0f} MB; a chat beside them took "
        f"{ratio:.1f} times as long",
    )


def warm(caller: Caller) -> None:
    for model in ("echo", "echo:crowd"):
        assert caller.chat("hello", model, max_tokens=2).status_code == 200


def states(system: System) -> dict[str, int]:
    """How many of the readers' jobs are in which state; not asked of the web process."""
    with psycopg.connect(embedded.database_url(system.data)) as connection:
        found = connection.execute(
            "SELECT state, count(*) FROM jobs_job WHERE owner_id = "
            "(SELECT id FROM accounts_user WHERE email = 'alice@example.com') GROUP BY state"
        )
        return {"running": 0, "queued": 0, "succeeded": 0, **dict(found.fetchall())}
