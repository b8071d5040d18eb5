"""What every answer says to browsers and to whoever stands between, route by route."""

from collections.abc import Mapping

from tests.security.attempts import path_of, visitors
from tests.security.conftest import Cast
from tests.security.entries import Access, entry_of
from tests.security.surface import Route
from tests.system import System

SCRIPTLESS = ("'unsafe-inline'", "'unsafe-eval'", "http:", "https:", "*")


def test_each_answer_protects_itself(system: System, routes: list[Route], cast: Cast) -> None:
    mistakes: list[tuple[str, str]] = []
    for route in routes:
        entry = entry_of(route.pattern)
        assert entry is not None
        if "GET" not in route.methods or route.pattern.endswith("logout/"):
            continue
        operator = entry.access in (Access.OPERATORS, Access.DEPLOYERS)
        for visitor in visitors(system, cast.bob if operator else cast.alice, route):
            response = visitor.get(path_of(route, entry, cast.things))
            if response.status_code == 405:
                continue
            mistakes += [
                (route.pattern, what) for what in lacking(route, entry.access, response.headers)
            ]
    assert not mistakes, "\n".join(map(str, mistakes))


def lacking(route: Route, access: Access, said: Mapping[str, str]) -> list[str]:
    policy = said.get("Content-Security-Policy", "")
    kept = said.get("Cache-Control", "")
    is_page = said.get("Content-Type", "").startswith("text/html")
    found = {
        "nosniff once": said.get("X-Content-Type-Options") == "nosniff",
        "no name of the server": "Server" not in said,
        "a request id": bool(said.get("x-request-id")),
        "kept by nobody": access == Access.OPEN or "private" in kept or "no-store" in kept
        or "no-cache" in kept,
        "in no frame": not is_page or "frame-ancestors 'none'" in policy,
        "only what the policy names": not is_page or "default-src 'none'" in policy,
        "scripts of ours": not is_page or route.pattern.startswith("admin/")
        or not any(word in directive(policy, "script-src").split() for word in SCRIPTLESS),
        "no address told to others": not is_page or said.get("Referrer-Policy") in
        ("same-origin", "no-referrer") or route.is_call,
    }  # fmt: skip
    return [what for what, holds in found.items() if not holds]


def directive(policy: str, name: str) -> str:
    return next((part for part in policy.split(";") if part.strip().startswith(name)), "")
