"""Every route, tried by whoever is not its owner: charlie by key and by session, and nobody.

Routes are found in the running product, and each must have an entry. Alice owns one of
everything; no answer to anybody else may hold a word of it, and nothing of it may change.
"""

import io
import re
import zipfile
from collections.abc import Callable

import pytest
import requests

from tests.security.attempts import path_of, state_of, tried, tries, visitors
from tests.security.belongings import CREDIT, WORD
from tests.security.conftest import Cast, Visitor, by_key, by_session, without_ids
from tests.security.entries import NAMED, TABLES, Access, entry_of
from tests.security.surface import Route
from tests.system import System

Record = Callable[[str, object], None]
THEIRS = ("deployment", "node", "pod")
NOBODYS = "01a20000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def secrets(cast: Cast) -> list[str]:
    """What tells of alice wherever it stands."""
    hidden = (
        "user",
        "account",
        "key",
        "transfer",
        "audit",
        "invitation",
        "deployment",
        "node",
        "pod",
    )
    ids = [value for name, value in cast.things.items() if name not in hidden]
    bare = [value.replace("-", "") for value in ids]
    return [WORD, CREDIT, cast.alice.email, cast.alice.key, cast.alice.session, *ids, *bare]


def holds(response: requests.Response, secrets: list[str], path: str) -> list[str]:
    """Which of these the answer holds that weren't in the question."""
    said = content(response) + "\n".join(response.headers.values())
    return [secret for secret in secrets if secret in said and secret not in path]


def content(response: requests.Response) -> str:
    if response.headers.get("Content-Type") != "application/zip":
        return response.content.decode(errors="replace")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        return "\n".join(archive.read(name).decode(errors="replace") for name in archive.namelist())


def wrong(access: Access, route: Route, method: str, response: requests.Response) -> bool:
    """Whether charlie got another answer than he may get."""
    status = response.status_code
    to = response.headers.get("Location", "")
    match access:
        case Access.THEIRS:
            return status not in (404, 405)
        case Access.DEPLOYERS:
            return status not in (403, 405)
        case Access.OPERATORS:
            return status not in (401, 403) and not (
                status == 302 and to.startswith("/admin/login/")
            )
        case Access.LINKED:
            return status not in (302, 400, 404, 405) and not (
                status == 200 and route.pattern.startswith("accounts/")
            )
        case Access.MINE:
            return status >= 500 or (method == "GET" and status not in (200, 302, 404, 405))
    return status >= 500


def outsider(access: Access, route: Route, response: requests.Response) -> bool:
    """Whether nobody in particular got another answer than the door."""
    if access in (Access.OPEN, Access.LINKED):
        return wrong(access, route, "GET", response)
    if route.is_call:
        return response.status_code not in (401, 405)
    door = response.headers.get("Location", "").split("?")[0]
    doors = ("/accounts/login/", "/admin/login/")
    return response.status_code != 405 and not (response.status_code == 302 and door in doors)


# What not even the operator does: rows are added and deleted elsewhere, or not at all.
NOBODY_DOES = re.compile("^admin/.*/(add|<object_id>/delete)/$")
# Only there for who has a second factor, or for nothing that we have.
NOBODYS_PAGES = (
    "accounts/2fa/totp/deactivate/",
    "accounts/2fa/recovery-codes/",
    "accounts/2fa/recovery-codes/download/",
    "admin/autocomplete/",
    "admin/r/<content_type_id>/<object_id>/",
    "admin/<url>",
)


def test_every_route_has_an_entry(routes: list[Route]) -> None:
    unknown = [route.pattern for route in routes if entry_of(route.pattern) is None]
    assert unknown == [], "say in entries.py whose these are"
    table = re.compile("admin/([^/]+/[^/]+)/<object_id>/change/")
    assert {found[1] for route in routes if (found := table.fullmatch(route.pattern))} == {*TABLES}
    for route in routes:
        entry = entry_of(route.pattern)
        assert entry is not None
        assert set(route.parameters) <= entry.values.keys(), route.pattern


def test_charlie_gets_nothing_of_alices(
    system: System, routes: list[Route], cast: Cast, secrets: list[str], record_property: Record
) -> None:
    alice = by_key(system, cast.alice)
    before, count, mistakes = state_of(alice), 0, []
    for route, method, entry in tries(routes):
        for visitor in visitors(system, cast.charlie, route):
            path = path_of(route, entry, cast.things)
            response = tried(visitor, method, route, path)
            count += 1
            leaked = holds(response, secrets, path)
            if leaked or wrong(entry.access, route, method, response):
                mistakes.append((method, path, response.status_code, leaked))
    assert not mistakes, "\n".join(map(str, mistakes))
    assert state_of(alice) == before
    record_property("reached", f"{count} tries of charlie on {len(routes)} routes, none got in")


def test_nobody_gets_past_the_door(
    routes: list[Route],
    cast: Cast,
    nobody: Visitor,
    secrets: list[str],
    record_property: Record,
) -> None:
    count, mistakes = 0, []
    for route, method, entry in tries(routes):
        path = path_of(route, entry, cast.things)
        response = tried(nobody, method, route, path)
        count += 1
        leaked = holds(response, secrets, path)
        if leaked or outsider(entry.access, route, response):
            mistakes.append((method, path, response.status_code, leaked))
    assert not mistakes, "\n".join(map(str, mistakes))
    record_property("reached", f"{count} tries of nobody in particular, all at the door")


def test_what_is_alices_looks_like_what_nobody_has(
    system: System, routes: list[Route], cast: Cast
) -> None:
    """So that nobody can find out by asking which ids there are."""
    unknown = {**cast.things, **dict.fromkeys(cast.things, NOBODYS), "key": "987654321"}
    mistakes = []
    for route, method, entry in tries(routes):
        if entry.access == Access.THEIRS:
            visitor, *_ = visitors(system, cast.charlie, route)
            hers, nobodys = (
                without_ids(tried(visitor, method, route, path_of(route, entry, things)))
                for things in (cast.things, unknown)
            )
            if hers != nobodys:
                mistakes.append((method, route.pattern, hers, nobodys))
    assert not mistakes, "\n".join(map(str, mistakes))


def test_what_names_a_thing_of_alices_finds_nothing(
    system: System, cast: Cast, secrets: list[str]
) -> None:
    alice = by_key(system, cast.alice)
    before = state_of(alice)
    for method, text in NAMED:
        path, _, fields = text.format(**cast.things).partition(" ")
        key = fields.removeprefix("key=")
        body = {"json": {"period": "day", "cap": 1, "key": int(key)}} if key else {}
        visitor = by_session(system, cast.charlie)
        response = visitor.send(method, path, **body)
        assert response.status_code in (200, 404), (path, response.text)
        assert holds(response, secrets, path) == [], path
    assert state_of(alice) == before


def test_the_owner_and_the_operator_get_in(system: System, routes: list[Route], cast: Cast) -> None:
    """Else the refusals above would prove nothing: the addresses are real."""
    mistakes = []
    for route, method, entry in tries(routes):
        if method != "GET" or entry.access in (Access.OPEN, Access.LINKED):
            continue
        operator = entry.access in (Access.OPERATORS, Access.DEPLOYERS)
        visitor, *_ = visitors(system, cast.bob if operator else cast.alice, route)
        response = visitor.get(path_of(route, entry, cast.things))
        ours = response.status_code in (200, 302, 405) or route.pattern in NOBODYS_PAGES
        if not ours and not NOBODY_DOES.search(route.pattern):
            mistakes.append((route.pattern, response.status_code, response.text[:200]))
    assert not mistakes, "\n".join(map(str, mistakes))


def test_alice_can_do_what_charlie_can_not(system: System, routes: list[Route], cast: Cast) -> None:
    """The last test of her things: these change and delete them."""
    mistakes = []
    order = sorted(tries(routes), key=lambda each: (not each[0].is_call, each[1] == "DELETE"))
    for route, method, entry in order:
        if entry.access == Access.THEIRS and method != "GET":
            visitor, *_ = visitors(system, cast.alice, route)
            response = tried(visitor, method, route, path_of(route, entry, cast.things))
            if response.status_code in (401, 403) or response.status_code >= 500:
                mistakes.append((method, route.pattern, response.status_code, response.text[:200]))
    assert not mistakes, "\n".join(map(str, mistakes))
