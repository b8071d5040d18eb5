"""The whole product, all of its routes, and the cast: alice owns, bob operates, charlie must see
nothing."""

import json
import re
import threading
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.security import surface
from tests.security.surface import Route
from tests.system import System

TIMEOUT_S = 90


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key and two sessions."""

    email: str
    key: str
    session: str
    spare: str
    session_name: str


# A token of our own choosing will do for whoever may set cookies here: the page's is such.
TOKEN = "c" * 32


@dataclass(frozen=True)
class Visitor:
    """A client of the running product; without a person, nobody in particular."""

    base_url: str
    key: str = ""
    cookies: dict[str, str] | None = None
    token: str = TOKEN

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, as it would come through a proxy; redirects are not followed."""
        headers = {"X-Forwarded-For": "203.0.113.9", **options.pop("headers", {})}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        cookies = dict(self.cookies or {})
        if self.token:
            headers["X-CSRFToken"] = cookies["csrftoken"] = self.token
        return connection().request(
            method,
            self.base_url + path,
            headers=headers,
            cookies=cookies,
            timeout=TIMEOUT_S,
            allow_redirects=False,
            **options,
        )

    def session_cookie(self, response: requests.Response) -> str:
        """The name of the cookie that signs somebody in."""
        return next(cookie.name for cookie in response.cookies if "session" in cookie.name)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.send("GET", path, **options)


@dataclass(frozen=True)
class Cast:
    """`things` are the ids of what alice owns."""

    alice: Person
    charlie: Person
    bob: Person
    things: dict[str, str]


local = threading.local()


def connection() -> requests.Session:
    """One for each thread, which keeps connections and no cookies."""
    if not hasattr(local, "session"):
        local.session = requests.Session()
    local.session.cookies.clear()
    session: requests.Session = local.session
    return session


@pytest.fixture(scope="session")
def system(shop: System) -> System:
    return shop


@pytest.fixture(scope="session")
def routes(system: System) -> list[Route]:
    return surface.routes(system)


@pytest.fixture(scope="module")
def cast(system: System) -> Cast:
    """New ones for each file: some tests end with alice's things."""
    program = "from tests.security import belongings; belongings.make()"
    made = json.loads(system.manage("shell", "-v0", "-c", program).splitlines()[-1])
    people = {name: Person(**made[name]) for name in ("alice", "charlie", "bob")}
    return Cast(**people, things=made["things"])


@pytest.fixture(scope="session")
def nobody(system: System) -> Visitor:
    return Visitor(system.base_url)


def by_key(system: System, person: Person) -> Visitor:
    return Visitor(system.base_url, person.key)


def by_session(system: System, person: Person, token: str = TOKEN) -> Visitor:
    return Visitor(system.base_url, "", {person.session_name: person.session}, token)


def without_ids(response: requests.Response) -> tuple[int, str]:
    """What an answer says, but for what differs each time."""
    text = re.sub(r'(csrf[\w-]*"? (?:content|value)=")\w+|nonce="[^"]+"', "", response.text)
    return response.status_code, text
