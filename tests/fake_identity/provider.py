"""A provider of identities that approves of everybody: OpenID Connect, and what GitHub answers.

It is as strict as the real ones are about what a client sends: a registered redirect address,
PKCE by S256, the secret, and a code that works once.
"""

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import orjson

CLIENTS = {name: f"modelpilot-by-{name.lower()}" for name in ("GITHUB", "GOOGLE", "OIDC")}
CLIENT_SECRET = "a secret of this provider, for clients only"
CALLBACKS = (
    "/accounts/oidc/google/login/callback/",
    "/accounts/oidc/sso/login/callback/",
    "/accounts/github/login/callback/",
)


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in at the provider."""

    id: str
    email: str
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Grant:
    person: Person
    client: str
    redirect_uri: str
    challenge: str


@dataclass
class Provider:
    base: str = ""
    # Whose browser it is; None refuses.
    person: Person | None = None
    codes: dict[str, Grant] = field(default_factory=dict)
    tokens: dict[str, Person] = field(default_factory=dict)
    # What was wrong with what was asked, a sentence each.
    refused: list[str] = field(default_factory=list)

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser goes on."""
        back = query["redirect_uri"]
        assert query["client_id"] in CLIENTS.values()
        assert query["response_type"] == "code"
        assert urlsplit(back).path in CALLBACKS, back
        assert query["code_challenge_method"] == "S256"
        if self.person is None:
            return f"{back}?{urlencode({'error': 'access_denied', 'state': query['state']})}"
        code = secrets.token_urlsafe(12)
        self.codes[code] = Grant(self.person, query["client_id"], back, query["code_challenge"])
        return f"{back}?{urlencode({'code': code, 'state': query['state']})}"

    def exchange(self, form: dict[str, str]) -> dict[str, Any]:
        grant = self.codes.pop(form["code"])
        verifier = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(verifier).rstrip(b"=").decode() == grant.challenge
        assert form["redirect_uri"] == grant.redirect_uri
        assert (form["client_id"], form["client_secret"]) == (grant.client, CLIENT_SECRET)
        token = secrets.token_urlsafe(12)
        self.tokens[token] = grant.person
        now = int(time.time())
        claims = {"iss": self.base, "aud": grant.client, "iat": now, "exp": now + 300}
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": jwt.encode(claims | openid(grant.person), CLIENT_SECRET, "HS256"),
        }

    def answer(self, path: str, bearer: str) -> Any:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.base,
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token",
                "userinfo_endpoint": f"{self.base}/userinfo",
                "jwks_uri": f"{self.base}/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            }
        person = self.tokens[bearer]
        match path:
            case "/userinfo":
                return openid(person)
            case "/api/v3/user":
                return {"id": int(person.id), "login": person.email.partition("@")[0]}
            case "/api/v3/user/emails":
                return [{"email": person.email, "primary": True, "verified": person.verified}]
        raise KeyError(path)


def openid(person: Person) -> dict[str, Any]:
    return {"sub": person.id, "email": person.email, "email_verified": person.verified}


def handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path in ("/authorize", "/login/oauth/authorize"):
                self.guarded(lambda: self.redirect(provider.authorize(first(parts.query))))
                return
            bearer = self.headers.get("Authorization", "").rpartition(" ")[2]
            self.guarded(lambda: self.say(provider.answer(parts.path, bearer)))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.guarded(lambda: self.say(provider.exchange(first(body))))

        def guarded(self, act: Any) -> None:
            try:
                act()
            except (AssertionError, KeyError) as error:
                provider.refused.append(f"{self.command} {self.path}: {error!r}")
                self.send_error(400)

        def redirect(self, url: str) -> None:
            self.send_response(302)
            self.send_header("Location", url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def say(self, content: Any) -> None:
            body = orjson.dumps(content)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


def first(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


@contextmanager
def serving() -> Iterator[Provider]:
    provider = Provider()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(provider))
    provider.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def environment(provider: Provider) -> dict[str, str]:
    """With this the product has three buttons, all of them this provider's."""
    found = {"MODELPILOT_OIDC_NAME": "Example Corp"}
    for name, client in CLIENTS.items():
        found |= {
            f"MODELPILOT_{name}_CLIENT_ID": client,
            f"MODELPILOT_{name}_CLIENT_SECRET": CLIENT_SECRET,
            f"MODELPILOT_{name}_URL": provider.base,
        }
    return found
