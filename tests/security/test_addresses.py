"""Addresses that want to leave where they belong: paths, redirects, foreign names and origins."""

import secrets
from urllib.parse import urljoin

import pytest
import requests

from tests.security.conftest import Cast, Visitor, by_key, by_session
from tests.security.wires import exchange, request
from tests.system import System

CLIMBS = (
    "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..\\", "..%5c", "%c0%ae%c0%ae/",
    "....//", "..;/", "/", "//", "./../", "modelpilot/../../", "modelpilot%2f..%2f..%2f",
)  # fmt: skip
GOALS = ("etc/passwd", "manage.py", "modelpilot/settings.py", "data/secret-key", "secret-key")


@pytest.mark.parametrize("root", ["/static/", "/outputs/", "/docs/", "/models/", "/"])
def test_no_path_leads_out(system: System, root: str) -> None:
    for climb in CLIMBS:
        for times in (1, 2, 6):
            for goal in GOALS:
                answer = exchange(system, request("GET", root + climb * times + goal))
                assert answer.status in (302, 400, 404), (climb, goal)
                assert b"root:" not in answer.body
                assert b"SECRET_KEY" not in answer.body


ELSEWHERE = (
    "//evil.example", "https://evil.example", "https:evil.example", "http:///evil.example",
    "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
    "\x01//evil.example",
    "javascript:alert(1)", "data:text/html,x", " https://evil.example", "evil.example", "-1",
    "//127.0.0.1@evil.example", "https://127.0.0.1.evil.example", "/\r\nSet-Cookie: x=1",
)  # fmt: skip


def is_ours(location: str) -> bool:
    """As browsers read it: a backslash is a slash to them, and blanks before it are nothing."""
    here = "http://127.0.0.1/accounts/login/"
    seen = location.strip("\t\n\r\x01 ").replace("\\", "/")
    return urljoin(here, seen).startswith("http://127.0.0.1/")


@pytest.mark.parametrize("target", ELSEWHERE)
def test_signing_in_leads_nowhere_else(system: System, cast: Cast, target: str) -> None:
    visitor = Visitor(system.base_url)
    form = {"login": cast.charlie.email, "password": "correct horse battery", "next": target}
    arrived = visitor.send("POST", "/accounts/login/", data=form, params={"next": target})
    assert arrived.status_code == 302, arrived.text
    assert is_ours(arrived.headers["Location"]), arrived.headers["Location"]
    assert "x" not in arrived.cookies
    form = {"email": f"{secrets.token_hex(8)}@example.com", "password1": "correct horse battery"}
    signed_up = visitor.send("POST", "/accounts/signup/", data={**form, "next": target})
    assert is_ours(signed_up.headers["Location"])
    operator = by_session(system, cast.bob).get("/admin/login/", params={"next": target})
    assert is_ours(operator.headers["Location"])
    cookies = {visitor.session_cookie(arrived): arrived.cookies[visitor.session_cookie(arrived)]}
    leaving = Visitor(system.base_url, "", cookies)
    left = leaving.send("POST", "/accounts/logout/", data={"next": target})
    assert is_ours(left.headers["Location"])


FOREIGN = ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example",
           "evil host", "x@y", "[::1", "", "127.0.0.1\r\nHost: evil.example")  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_name_opens_no_page(system: System, host: str) -> None:
    """A site whose name leads to this machine would have its visitors' browsers ask us."""
    for path in ("/", "/accounts/signup/", "/dashboard/", "/admin/", "/setup/x", "/docs/"):
        assert exchange(system, request("GET", path, host=host)).status == 400
    assert exchange(system, request("GET", "/metrics", host=host)).status in (400, 401)
    assert exchange(system, request("GET", "/metrics")).status == 200


ASKED = ("/api/v1/jobs", "/api/v1/billing/statement", "/v1/models", "/", "/accounts/login/",
         "/dashboard/", "/static/modelpilot/site.css")  # fmt: skip


def test_what_proxies_say_of_themselves_is_not_believed(system: System, cast: Cast) -> None:
    headers = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "javascript",
        "X-Forwarded-Server": "evil.example",
        "X-Original-URL": "/admin/",
        "X-Rewrite-URL": "/admin/",
        "Forwarded": "host=evil.example;proto=https",
    }
    for visitor in (by_key(system, cast.alice), by_session(system, cast.alice)):
        for path in (
            "/api/v1/jobs",
            "/api/v1/billing/statement",
            "/accounts/login/",
            "/dashboard/",
        ):
            answer = visitor.get(path, headers=headers)
            assert answer.status_code in (200, 302)
            assert "evil.example" not in answer.text + str(answer.headers)


def test_no_other_origin_may_read(system: System, cast: Cast) -> None:
    preflight = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for visitor in (by_key(system, cast.alice), by_session(system, cast.alice)):
        for path in ASKED:
            for method in ("GET", "OPTIONS"):
                answer = visitor.send(method, path, headers=preflight)
                assert "access-control" not in str(answer.headers).lower(), path


def test_a_cookie_of_ours_is_for_us_alone(system: System, cast: Cast) -> None:
    form = {"login": cast.charlie.email, "password": "correct horse battery"}
    answer = Visitor(system.base_url).send("POST", "/accounts/login/", data=form)
    cookies = raw_cookies(answer)
    assert any(cookie.startswith("sessionid=") for cookie in cookies)
    for cookie in cookies:
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Domain" not in cookie


def raw_cookies(answer: requests.Response) -> list[str]:
    headers = answer.raw.headers
    found: list[str] = headers.getlist("Set-Cookie")
    return found
