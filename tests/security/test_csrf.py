"""Every route that changes something refuses a session without the token of our own pages."""

from collections.abc import Callable

import pytest
import requests

from tests.security.attempts import path_of, state_of
from tests.security.conftest import TOKEN, Cast, Visitor, by_key
from tests.security.entries import Access, entry_of
from tests.security.surface import Route
from tests.system import System


def test_a_session_alone_changes_nothing(
    system: System,
    routes: list[Route],
    cast: Cast,
    record_property: Callable[[str, object], None],
) -> None:
    session = {cast.alice.session_name: cast.alice.session, "csrftoken": TOKEN}
    visitor = Visitor(system.base_url, "", session, token="")
    alice = by_key(system, cast.alice)
    before, count, mistakes = state_of(alice), 0, []
    for route in routes:
        entry = entry_of(route.pattern)
        assert entry is not None
        # Calls that no session opens have nothing to lose.
        if route.is_call and entry.access in (Access.OPEN, Access.LINKED, Access.OPERATORS):
            continue
        for method in route.methods:
            if method == "GET":
                continue
            path = path_of(route, entry, cast.things)
            response = visitor.send(method, path, json={})
            count += 1
            if not refused(response, route):
                mistakes.append((method, path, response.status_code, response.text[:200]))
    assert not mistakes, "\n".join(map(str, mistakes))
    assert state_of(alice) == before
    record_property("reached", f"{count} tries with a session and no token, all refused")


def refused(response: requests.Response, route: Route) -> bool:
    if route.is_call and response.status_code == 403:
        return bool(response.json()["error"]["code"] == "csrf_failed")
    return response.status_code == 403 or (route.is_call and response.status_code == 405)


@pytest.mark.parametrize(
    ("token", "cookies"),
    [
        ("", {}),
        ("", {"csrftoken": ""}),
        (TOKEN, {}),
        ("d" * 32, {"csrftoken": TOKEN}),
        (TOKEN[:-1], {"csrftoken": TOKEN}),
        ("x", {"csrftoken": "x"}),
    ],
)
def test_no_other_token_will_do(
    system: System, cast: Cast, token: str, cookies: dict[str, str]
) -> None:
    session = {cast.alice.session_name: cast.alice.session}
    visitor = Visitor(system.base_url, "", {**session, **cookies}, token="")
    headers = {"X-CSRFToken": token} if token else {}
    for path in ("/api/v1/webhooks", "/dashboard/keys/", "/accounts/logout/", "/admin/logout/"):
        form = {"csrfmiddlewaretoken": token}
        assert visitor.send("POST", path, headers=headers, data=form).status_code == 403, path
    assert visitor.get("/api/v1/balance").status_code == 200


def test_forms_of_other_sites_are_refused(system: System, cast: Cast) -> None:
    """Also those that a page can send without asking first: a form, as text."""
    session = {cast.alice.session_name: cast.alice.session}
    visitor = Visitor(system.base_url, "", session, token="")
    alice = by_key(system, cast.alice)
    before = state_of(alice)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        headers = {"Content-Type": kind, "Origin": "https://evil.example"}
        for path in ("/api/v1/webhooks", "/api/v1/audio/transcriptions", "/api/v1/images/edits"):
            body = b'{"url": "https://evil.example/"}'
            response = visitor.send("POST", path, headers=headers, data=body)
            assert response.json()["error"]["code"] == "csrf_failed"
    assert state_of(alice) == before
    assert visitor.get("/api/v1/balance").status_code == 200
