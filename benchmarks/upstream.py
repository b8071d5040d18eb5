"""What LiteLLM's proxy stands in front of: the echo model as a plain server, by hand.

`python -m benchmarks.upstream PORT`. It says what `inference.echo` says, each token as a chunk
of its own, as model servers do, and costs next to nothing: the proxy is all that is measured.
"""

import asyncio
import re
import sys
import time
from itertools import cycle, islice
from typing import Any, cast

import orjson
import uvloop

PACE_S = 0.01
SIZE = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"


class Server(asyncio.Protocol):
    """One connection, one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.buffer = bytearray()
        self.tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        size = SIZE.search(head)
        if size is None:
            # LiteLLM looks whether we are there.
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            self.buffer.clear()
            return
        length = int(size[1])
        if len(rest) < length:
            return
        body = orjson.loads(rest[:length])
        del self.buffer[: len(head) + 4 + length]
        task = asyncio.get_running_loop().create_task(self.answer(body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self, body: dict[str, Any]) -> None:
        said = body["messages"][-1]["content"]
        text = said if isinstance(said, str) else said[0]["text"]
        tokens = [f"{word} " for word in islice(cycle(text.split()), body["max_tokens"])]
        if not body.get("stream"):
            self.whole(body["model"], "".join(tokens))
            return
        self.transport.write(HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n")
        await self.pieces(body["model"], tokens, 0.0 if "fast" in body["model"] else PACE_S)

    async def pieces(self, model: str, texts: list[str], pause_s: float) -> None:
        for index, text in enumerate(texts):
            if pause_s:
                await asyncio.sleep(pause_s)
            role = {} if index else {"role": "assistant"}
            self.event(chunk(model, {**role, "content": text}, None))
        self.event(chunk(model, {}, "length"))
        self.chunked(b"data: [DONE]\n\n")
        self.transport.write(b"0\r\n\r\n")

    def event(self, value: dict[str, Any]) -> None:
        self.chunked(b"data: " + orjson.dumps(value) + b"\n\n")

    def chunked(self, data: bytes) -> None:
        self.transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    def whole(self, model: str, text: str) -> None:
        message = {"role": "assistant", "content": text}
        body = orjson.dumps(
            {
                **about(model, "chat.completion"),
                "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25},
            }
        )
        head = HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)


def chunk(model: str, delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {**about(model, "chat.completion.chunk"), "choices": [choice]}


def about(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": int(time.time()), "model": model}


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
