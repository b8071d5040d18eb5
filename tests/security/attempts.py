"""Trying routes as somebody: with alice's things in their addresses."""

import re
from collections.abc import Iterator
from dataclasses import replace

import requests

from tests.security.conftest import Person, Visitor, by_key, by_session
from tests.security.entries import Entry, entry_of
from tests.security.surface import Route
from tests.system import System

# Ends the session that it is tried with.
PARTING = ("accounts/logout/", "admin/logout/")


def tries(routes: list[Route]) -> Iterator[tuple[Route, str, Entry]]:
    """Each route with each of its methods."""
    for route in routes:
        entry = entry_of(route.pattern)
        assert entry is not None, route.pattern
        for method in route.methods:
            yield route, method, entry


def path_of(route: Route, entry: Entry, things: dict[str, str]) -> str:
    return route.path({name: things.get(text, text) for name, text in entry.values.items()})


# What a body must have for its route to look at whose thing it is about.
BODIES: dict[tuple[str, str], dict[str, object]] = {
    ("PATCH", "api/v1/webhooks/<webhook_id>"): {"enabled": True},
}


def tried(visitor: Visitor, method: str, route: Route, path: str) -> requests.Response:
    body = {} if method == "GET" else {"json": BODIES.get((method, route.pattern), {})}
    return visitor.send(method, path, **body)


def visitors(system: System, person: Person, route: Route) -> list[Visitor]:
    """The ways in which somebody comes to a route."""
    if route.pattern in PARTING:
        return [by_session(system, replace(person, session=person.spare))]
    session = by_session(system, person)
    return [by_key(system, person), session] if route.is_call else [session]


def state_of(alice: Visitor) -> dict[str, str]:
    """What alice has, in her own eyes."""
    pages = ("jobs?limit=100", "webhooks", "webhooks/secret", "balance", "budgets", "key",
             "billing/purchases", "billing/transfers")  # fmt: skip
    # A link is signed anew each time that it is shown.
    signed = re.compile(r"expires=\d+&signature=\w+")
    return {page: signed.sub("", alice.get(f"/api/v1/{page}").text) for page in pages}
