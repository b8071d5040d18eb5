"""A real HTTP server that webhooks are sent to."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import standardwebhooks

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """The payload; raises unless the signature is right."""
        payload: dict[str, Any] = standardwebhooks.Webhook(secret).verify(self.body, self.headers)
        assert payload == json.loads(self.body)
        return payload


@dataclass
class Receiver:
    port: int
    # What to answer next; 200 when there is nothing left.
    answers: list[int | Answer] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def next_answer(self) -> int | Answer:
        with self.lock:
            return self.answers.pop(0) if self.answers else 200

    def wait_for(self, count: int, within_s: float = 20) -> list[Received]:
        deadline = time.monotonic() + within_s
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} came"
            time.sleep(0.05)
        return self.received


@contextmanager
def receiver(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on 127.0.0.1; over TLS with a `context`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with mine.lock:
                mine.received.append(Received(self.path, lower(self.headers), body))
            answer = mine.next_answer()
            if callable(answer):
                answer(self)
                return
            self.send_response(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        # Of the usual 5 that wait to be let in, a crowd's rest would knock again a second later.
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass  # senders may hang up

    server = Server(("127.0.0.1", 0), Handler)
    mine = Receiver(server.server_port)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
