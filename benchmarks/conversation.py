"""One streamed chat with any server that speaks as OpenAI's does, and when it said what."""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.load import Connection, content_length, dechunked
from benchmarks.stack import BenchmarkError

ANSWER_S = 300.0
# Where the first word of an answer is, in anybody's JSON.
WORD = re.compile(rb'"content": ?"[^"]')


@dataclass(frozen=True)
class Reply:
    """One answer: its tokens, and the seconds until its first word and its end."""

    text: str
    tokens: int
    first_s: float
    total_s: float
    # Of the prompt: all of it, and what the server knew from before.
    prompt: int = 0
    cached: int = 0


class Reading(Connection):
    """Notes when the first word came: some servers say who speaks long before they speak."""

    def begin(self, answer: "asyncio.Future[None] | None") -> None:
        super().begin(answer)
        self.word_at = 0.0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.word_at and self.body_at and WORD.search(self.buffer, self.body_at):
            self.word_at = time.perf_counter()


async def ask(port: int, key: str, model: str, prompt: str, tokens: int) -> Reply:
    """One streamed answer of at most `tokens`, greedy; BenchmarkError if it is none."""
    loop = asyncio.get_running_loop()
    try:
        transport, connection = await loop.create_connection(Reading, "127.0.0.1", port)
    except OSError as error:
        raise BenchmarkError(f"Nobody listens at port {port}: {error}") from None
    body = orjson.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    answered: asyncio.Future[None] = loop.create_future()
    connection.begin(answered)
    begun = time.perf_counter()
    try:
        transport.write(head.encode() + body)
        async with asyncio.timeout(ANSWER_S):
            await answered
        total_s = time.perf_counter() - begun
    except (OSError, TimeoutError) as error:
        raise BenchmarkError(f"An answer broke: {error!r}") from None
    finally:
        transport.abort()
    answer = bytes(connection.buffer[connection.body_at :])
    if connection.buffer[9:12] != b"200" or not connection.word_at:
        raise BenchmarkError(f"no answer: {bytes(connection.buffer[:800])!r}")
    chunked = content_length(bytes(connection.buffer[: connection.body_at])) is None
    lines = (dechunked(answer) if chunked else answer).split(b"\n")
    chunks = [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    usage: dict[str, Any] = next(
        (chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), {}
    )
    said = pieces(chunks)
    return Reply(
        "".join(said),
        # Where the server doesn't count, its pieces are a token each.
        usage.get("completion_tokens", len(said)),
        connection.word_at - begun,
        total_s,
        usage.get("prompt_tokens", 0),
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
    )


def pieces(chunks: list[dict[str, Any]]) -> list[str]:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
    return [text for delta in deltas if (text := delta.get("content"))]
