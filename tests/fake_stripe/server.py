"""The account over HTTP: Stripe's API under /v1, a page to pay on, and levers under /_test.

`with serving(account) as url:` in tests; `python -m tests.fake_stripe` to try it by hand.
"""

import html
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fake_stripe.account import Object, Refusal, StripeAccount

KEY = "sk_test_fake"
LISTED = {
    "checkout/sessions": "checkout.session",
    "payment_intents": "payment_intent",
    "refunds": "refund",
    "disputes": "dispute",
    "charges": "charge",
}
# A person's or a bank's doings, by POST /_test/<word>/<id>: for curl, and for the pay page.
LEVERS = (
    "pay", "arrive", "bounce", "expire", "fail_refund", "dispute", "withdraw", "reinstate",
)  # fmt: skip
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Pay</title>
<body style="font:16px system-ui;max-width:26em;margin:4em auto;padding:0 1em">
<p><b>A stand-in for Stripe.</b> No money moves.</p><h1>${amount}</h1><p>API credit, {status}</p>
<form method="post"><button name="how" value="pay">Pay by card</button>
<button name="how" value="later">Pay by a slow method</button>
<button name="how" value="cancel">Back</button></form></body></html>"""


def nested(query: str) -> Object:
    """`a[b][0]=c` as {"a": {"b": {"0": "c"}}}, as Stripe's clients encode."""
    out: Object = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        parts = [part for part in re.findall(r"[^\[\]]+|\[\]", key) if part]
        here = out
        for part in parts[:-1]:
            here = here.setdefault(part, {})
        last = parts[-1]
        if last == "[]":
            here[str(len(here))] = value
        else:
            here[last] = value
    return out


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, account: StripeAccount, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.account = account


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: in two, the second waits for the first one's late ACK.
    wbufsize = -1
    server: Server

    def log_message(self, *args: Any) -> None:
        pass

    @property
    def account(self) -> StripeAccount:
        return self.server.account

    def do_GET(self) -> None:
        self.handle_with("")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.handle_with(self.rfile.read(length).decode())

    def handle_with(self, body: str) -> None:
        url = urlsplit(self.path)
        self.replayed = False
        try:
            if url.path.startswith("/v1/"):
                self.api(url.path.removeprefix("/v1/"), url.query, body)
            elif url.path.startswith("/pay/"):
                self.pay_page(url.path.removeprefix("/pay/"), body)
            elif url.path.startswith("/receipt/"):
                self.answer(200, f"Receipt of {html.escape(url.path)}", kind="text/html")
            elif url.path.startswith("/_test/") and self.command == "POST":
                word, _, name = url.path.removeprefix("/_test/").partition("/")
                self.lever(word, name, nested(body))
            else:
                raise Refusal(404, "Unrecognized request URL")
        except Refusal as refusal:
            self.answer(refusal.status, refusal.body)

    def api(self, path: str, query: str, body: str) -> None:
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            raise Refusal(401, "Invalid API Key provided.")
        account = self.account
        with account.lock:
            account.calls += 1
            if account.lose_requests:
                account.lose_requests -= 1
                return self.hang_up()
        if self.command == "GET":
            return self.answer(200, self.look(path, nested(query)))
        work = {"checkout/sessions": account.create_session, "refunds": account.create_refund}
        if ended := re.fullmatch(r"checkout/sessions/(\w+)/expire", path):
            work[path] = lambda asked: account.end_session(ended[1])
        if argued := re.fullmatch(r"disputes/(\w+)", path):
            work[path] = lambda asked: account.argue(argued[1], asked)
        if path not in work:
            raise Refusal(404, "Unrecognized request URL")
        status, answer, self.replayed = account.once(
            self.headers.get("Idempotency-Key"),
            f"{path}?{body}",
            lambda: (200, work[path](nested(body))),
        )
        with account.lock:
            if account.lose_answers:
                account.lose_answers -= 1
                return self.hang_up()
        return self.answer(status, answer)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def look(self, path: str, asked: Object) -> Object:
        account = self.account
        with account.lock:
            if path == "events":
                return listed(path, self.chosen_events(asked), asked)
            if path in LISTED:
                where = {k: v for k, v in asked.items() if k == "payment_intent"}
                found = account.all(LISTED[path], **where)
                since = int(asked.get("created", {}).get("gte", 0))
                found = [each for each in found if each["created"] >= since]
                return listed(path, [self.expanded(each, asked) for each in found], asked)
            folder, _, name = path.rpartition("/")
            if folder not in LISTED:
                raise Refusal(404, "Unrecognized request URL")
            return self.expanded(account.get(name, LISTED[folder]), asked)

    def chosen_events(self, asked: Object) -> list[Object]:
        types = set(asked.get("types", {}).values())
        since = int(asked.get("created", {}).get("gte", 0))
        return [
            event
            for event in self.account.events[::-1]
            if (not types or event["type"] in types) and event["created"] >= since
        ]

    def expanded(self, one: Object, asked: Object) -> Object:
        """With ids replaced by their objects, as `expand` names them."""
        out = json.loads(json.dumps(one))
        out.pop("of_intent", None)
        for path in asked.get("expand", {}).values():
            here = out
            for name in path.removeprefix("data.").split("."):
                if isinstance(here.get(name), str):
                    here[name] = json.loads(json.dumps(self.account.objects[here[name]]))
                if not isinstance(here.get(name), dict):
                    break
                here = here[name]
        return dict(out)

    def pay_page(self, session_id: str, body: str) -> None:
        session = self.account.get(session_id, "checkout.session")
        how = nested(body).get("how")
        if how is None:
            amount = f"{session['amount_total'] / 100:.2f}"
            page = PAGE.replace("{amount}", amount).replace("{status}", session["status"])
            return self.answer(200, page, kind="text/html")
        if how == "cancel":
            return self.answer(303, "", location=session["cancel_url"])
        if session["status"] == "open":
            self.account.pay(session_id, delayed=how == "later")
        target = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id)
        return self.answer(303, "", location=target)

    def lever(self, word: str, name: str, asked: Object) -> None:
        if word == "refund":
            asked["payment_intent"] = name
            with self.account.lock:
                return self.answer(200, self.account.create_refund(asked))
        if word == "close":
            return self.answer(200, self.account.close(name, won=asked.get("won") == "true"))
        if word not in LEVERS:
            raise Refusal(404, "Unrecognized request URL")
        return self.answer(200, getattr(self.account, word)(name))

    def answer(
        self, status: int, body: Object | str, *, kind: str = "application/json", location: str = ""
    ) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Request-Id", f"req_{secrets.token_hex(8)}")
        if location:
            self.send_header("Location", location)
        if self.replayed:
            self.send_header("Idempotent-Replayed", "true")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def listed(path: str, found: list[Object], asked: Object) -> Object:
    """A page of a list, after `starting_after`."""
    limit = int(asked.get("limit", 10))
    after = asked.get("starting_after")
    names = [each["id"] for each in found]
    start = names.index(after) + 1 if after in names else 0
    page = found[start : start + limit]
    return {
        "object": "list",
        # Where its client asks for the next page.
        "url": f"/v1/{path}",
        "data": page,
        "has_more": len(found) > start + limit,
    }


@contextmanager
def serving(account: StripeAccount, port: int = 0) -> Iterator[str]:
    """The server's address, for as long as the block runs."""
    server = Server(account, port)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    account.pay_base = url
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
