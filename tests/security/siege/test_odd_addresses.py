"""Whatever stands in an address, nothing breaks: as the operator, to whom all routes are open."""

from collections.abc import Callable
from urllib.parse import quote

from tests.security.attempts import path_of, visitors
from tests.security.conftest import Cast
from tests.security.entries import entry_of
from tests.security.surface import Route
from tests.system import System

ODD = (
    "0", "-1", "9" * 30, "1e9", "NaN", "é", "\ud7ff", "\U0001d7d9", "' OR 1=1--", "<script>",
    "a" * 3000,    "..", "%", "%2e%2e%2f", "\\..\\", "{{7*7}}", "${7*7}",
    "a\nb", "01a20000", "None",
)  # fmt: skip
# Whatever some page or call asks for, asked of all.
QUERY = (
    "after", "before", "code", "days", "e", "email", "error", "expires", "format", "from",
    "group_by",
    "job", "key", "kind", "limit", "model", "month", "name", "next", "o", "order", "p", "page",
    "process", "purchases", "q", "response_format", "session_id", "signature", "since", "state",
    "strict", "theme", "to", "until", "user__password__startswith", "id__in", "variant", "_popup",
)  # fmt: skip


def test_odd_parameters_and_queries(
    system: System, routes: list[Route], cast: Cast, record_property: Callable[[str, object], None]
) -> None:
    count, broken = 0, []
    for number, route in enumerate(routes):
        entry = entry_of(route.pattern)
        assert entry is not None
        *_, visitor = visitors(system, cast.bob, route)
        if route.pattern.endswith("logout/") or "GET" not in route.methods:
            continue
        paths = [route.path({name: quote(odd) for name in route.parameters}) for odd in ODD]
        plain = path_of(route, entry, cast.things)
        # Each name with another odd value for each route: all of all would be a million.
        query = {name: ODD[(number + place) % len(ODD)] for place, name in enumerate(QUERY)}
        one_by_one = [f"{plain}?{name}={quote(value)}" for name, value in query.items()]
        for path in dict.fromkeys([*paths, f"{plain}?{'&'.join(one_by_one)}", *one_by_one[::3]]):
            response = visitor.get(path)
            count += 1
            if response.status_code >= 500:
                broken.append((path[:200], response.status_code, response.text[:100]))
    assert not broken, "\n".join(map(str, broken))
    record_property("reached", f"{count} odd addresses and queries, {len(broken)} x 5xx")
