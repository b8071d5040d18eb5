"""A load generator that costs little: hand-written HTTP over kept-alive connections.

Measured beside it on the same cores, so every microsecond that it takes is missing elsewhere:
answers are collected as they come, and read only after the clock has stopped.
"""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, cast

import orjson
import uvloop

from benchmarks.stack import BenchmarkError, Stack

TOKENS = 20
ANSWER_S = 60.0
# So many different words that another client's answer can't pass for ours.
WORDS = "amber birch cedar delta ember fjord grove heron".split()


@dataclass
class Tally:
    """What one cell's clients have seen."""

    first_s: list[float] = field(default_factory=list)
    total_s: list[float] = field(default_factory=list)
    pieces: int = 0
    errors: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def count(self) -> int:
        return len(self.total_s)


class Connection(asyncio.Protocol):
    """One client's connection; one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[None] | None = None
        self.begin(None)

    def begin(self, answer: "asyncio.Future[None] | None") -> None:
        self.answer = answer
        self.buffer = bytearray()
        self.body_at = 0
        self.length: int | None = None
        self.first_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        if not self.body_at:
            self.body_at = buffer.find(b"\r\n\r\n") + 4
            if self.body_at < 4:
                self.body_at = 0
                return
            self.length = content_length(bytes(buffer[: self.body_at]))
        if not self.first_at and len(buffer) > self.body_at:
            self.first_at = time.perf_counter()
        whole = (
            # JSON has no bare line ends, so this is the last chunk and nothing else.
            buffer.endswith(b"\r\n0\r\n\r\n")
            if self.length is None
            else len(buffer) >= self.body_at + self.length
        )
        if whole and self.answer is not None and not self.answer.done():
            self.answer.set_result(None)


def content_length(head: bytes) -> int | None:
    """The body's length, or None where it comes in chunks."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return None


class Client:
    """Sends one request after the other, and checks every answer."""

    def __init__(self, port: int, key: str, model: str, *, number: int, stream: bool) -> None:
        self.port = port
        self.model = model
        self.stream = stream
        self.number = number
        self.sent = 0
        self.connection: Connection | None = None
        self.head = (
            "POST /v1/chat/completions HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{port}\r\n"
            f"Authorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\n"
            "Content-Length: "
        ).encode()

    async def run(self, until: float, tally: Tally) -> None:
        while time.perf_counter() < until:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self.ask(tally)
            except (OSError, TimeoutError, BenchmarkError) as error:
                tally.errors.append(f"{type(error).__name__}: {error}"[:300])
                self.close()
                await asyncio.sleep(0.05)
        self.close()

    async def ask(self, tally: Tally) -> None:
        loop = asyncio.get_running_loop()
        if self.connection is None or self.connection.transport is None:
            _, self.connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
        connection = self.connection
        assert connection.transport is not None
        prompt, expected = self.next_words()
        body = orjson.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": TOKENS,
                "stream": self.stream,
            }
        )
        answer: asyncio.Future[None] = loop.create_future()
        connection.begin(answer)
        begun = time.perf_counter()
        connection.transport.write(self.head + str(len(body)).encode() + b"\r\n\r\n" + body)
        await answer
        ended = time.perf_counter()
        pieces = self.check(connection, expected)
        tally.pieces += pieces
        tally.first_s.append(connection.first_at - begun)
        tally.total_s.append(ended - begun)

    def next_words(self) -> tuple[str, str]:
        """A prompt that nobody else sends, and what the echo answers."""
        self.sent += 1
        words = [f"c{self.number}", f"r{self.sent}", *WORDS[: 1 + self.sent % len(WORDS)]]
        return " ".join(words), "".join(f"{word} " for word in islice(cycle(words), TOKENS))

    def check(self, connection: Connection, expected: str) -> int:
        """The number of pieces that the right text came in; BenchmarkError for a wrong answer."""
        status = bytes(connection.buffer[9:12])
        body = bytes(connection.buffer[connection.body_at :])
        if connection.length is None:
            body = dechunked(body)
        if status != b"200":
            raise BenchmarkError(f"{status.decode()}: {body.decode()}")
        texts = streamed_texts(body) if self.stream else [whole_text(body)]
        text = "".join(texts)
        if text != expected:
            raise BenchmarkError(f"wrong text {text!r} instead of {expected!r}")
        return len(texts)

    def close(self) -> None:
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        self.connection = None


def dechunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def streamed_texts(body: bytes) -> list[str]:
    """The text of each delta; BenchmarkError for a stream that did not end as it must."""
    events = [line[6:] for line in body.split(b"\n\n") if line.startswith(b"data: ")]
    if len(events) < 2 or events[-1] != b"[DONE]":
        raise BenchmarkError(f"the stream ended early: {body[-300:]!r}")
    chunks: list[dict[str, Any]] = [orjson.loads(event) for event in events[:-1]]
    if "error" in chunks[-1]:
        raise BenchmarkError(str(chunks[-1]["error"]))
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    if choices[-1]["finish_reason"] is None:
        raise BenchmarkError("the stream has no finish_reason")
    return [text for choice in choices if (text := choice["delta"].get("content"))]


def whole_text(body: bytes) -> str:
    return str(orjson.loads(body)["choices"][0]["message"]["content"])


async def generate(
    port: int, key: str, model: str, *, clients: int, stream: bool, seconds: float
) -> Tally:
    """Let so many clients ask one after the other for `seconds`, and wait for the last answer."""
    tally = Tally()
    begun = time.perf_counter()
    crowd = [Client(port, key, model, number=i, stream=stream) for i in range(clients)]
    await asyncio.gather(*(client.run(begun + seconds, tally) for client in crowd))
    tally.elapsed_s = time.perf_counter() - begun
    return tally


def run(system: Stack, model: str, *, clients: int, stream: bool, seconds: float) -> Tally:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(
            generate(
                system.port, system.key, model, clients=clients, stream=stream, seconds=seconds
            )
        )
