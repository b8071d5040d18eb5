"""The frame around every page: who gets in, and what the browser may do there."""

import re
from typing import Any

import pytest
from django.test import Client

from modelpilot.accounts.models import User
from modelpilot.dashboard.shell import ENTRIES
from tests.dashboard.conftest import SignedIn

PUBLIC = [
    "/",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/accounts/waiting/",
    "/nothing",
]
ACCOUNT = [
    "/dashboard/settings/delete",
    "/accounts/email/",
    "/accounts/2fa/",
    "/accounts/sessions/",
    "/accounts/password/set/",
    "/accounts/logout/",
]


def private() -> list[str]:
    return [entry.url for entry in ENTRIES] + ACCOUNT


def assert_strict(answer: Any) -> None:
    """No script, style or handler in the page itself, and the policy that enforces it."""
    page = answer.content.decode()
    policy = answer.headers["Content-Security-Policy"]
    nonce = re.search(r"'nonce-([^']+)'", policy)
    assert nonce is not None
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    ours = re.findall(r"<script\b([^>]*)>([^<]*)</script>", page)
    assert ours
    for attributes, body in ours:
        data = 'type="application/json"' in attributes
        assert data or not body.strip(), "an inline script"
        assert data or 'src="/static/' in attributes
    assert f'nonce="{nonce[1]}"' in page
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    # Nothing of anybody else: every address that the browser loads is a path of ours.
    assert re.findall(r"<(?:script|link|img)\b[^>]*\b(?:src|href)=\"(?!/|data:)", page) == []
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert len(page) < 50_000


@pytest.mark.parametrize("path", PUBLIC)
def test_public_pages_are_open_and_strict(visitor: Client, path: str) -> None:
    answer = visitor.get(path)

    assert answer.status_code == (404 if path == "/nothing" else 200)
    assert_strict(answer)


def test_private_pages_ask_to_sign_in(visitor: Client) -> None:
    for path in private():
        answer = visitor.get(path)
        assert answer.status_code == 302, path
        assert answer.headers["Location"].startswith(("/accounts/login/?next=", "/")), path
        assert b"$" not in answer.content


def test_private_pages_are_strict_and_nobody_keeps_them(signed_in: SignedIn, bob: User) -> None:
    client = signed_in(bob)

    for path in private():
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert_strict(answer)
        assert "no-store" in answer.headers["Cache-Control"], path


def test_each_sees_their_own_balance(signed_in: SignedIn, alice: User, charlie: User) -> None:
    assert b"$10.00" in signed_in(alice).get("/dashboard/").content
    hers = signed_in(charlie).get("/dashboard/").content
    assert b"$10.00" not in hers
    assert b"alice" not in hers


def test_who_may_not_deploy_sees_no_such_entry(signed_in: SignedIn, alice: User, bob: User) -> None:
    for entry in ENTRIES:
        for user, sees in ((bob, True), (alice, not entry.deployers)):
            link = f'href="{entry.url}"'.encode()
            assert (link in signed_in(user).get("/dashboard/").content) is sees


def test_the_chosen_theme_is_in_the_page(visitor: Client) -> None:
    assert b"data-theme" not in visitor.get("/").content.partition(b"<head>")[0]

    visitor.cookies["theme"] = "dark"
    assert b'<html lang="en" data-theme="dark">' in visitor.get("/").content

    visitor.cookies["theme"] = '"><script>'
    assert b"data-theme" not in visitor.get("/").content.partition(b"<head>")[0]
