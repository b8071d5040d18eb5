"""Signing in by an account elsewhere: GitHub, Google, and any OpenID Connect, as browsers do it."""

import io
import json
import re
import zipfile

import pytest
import requests

from tests.fake_identity.provider import Person, Provider
from tests.system import System

BUTTONS = {"github": "GitHub", "google": "Google", "sso": "Example Corp"}


class Browser:
    """Somebody's browser, without a screen."""

    def __init__(self, system: System) -> None:
        self.base = system.base_url
        self.session = requests.Session()

    def open(self, path: str) -> str:
        answer = self.session.get(self.base + path, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def press(self, path: str, action: str, **fields: str) -> requests.Response:
        """Send the form to `action` of the page at `path`, and go where that leads."""
        page = self.open(path)
        form = re.search(
            rf'<form [^>]*action="({re.escape(action)}[^"]*)".*?name="csrfmiddlewaretoken" '
            'value="([^"]+)"',
            page,
            re.S,
        )
        assert form is not None, page
        fields["csrfmiddlewaretoken"] = form[2]
        url = self.base + form[1].replace("&amp;", "&")
        return self.session.post(url, fields, timeout=30)

    def enter(self, button: str, at: str = "/accounts/login/") -> requests.Response:
        path = f"/accounts/{'' if button == 'github' else 'oidc/'}{button}/login/"
        return self.press(at, path)

    @property
    def email(self) -> str | None:
        """Whose dashboard this browser sees."""
        page = self.session.get(f"{self.base}/dashboard/", timeout=30)
        found = re.search(r'<span class="truncate">([^<]+)</span>', page.text)
        return found and found[1]


@pytest.mark.parametrize("button", BUTTONS)
def test_the_first_time_makes_an_account_and_the_next_finds_it(
    system: System, identity: Provider, button: str
) -> None:
    identity.person = Person("7001", f"{button}-user@example.com")
    browser = Browser(system)
    for page in ("/accounts/login/", "/accounts/signup/"):
        assert f"Continue with {BUTTONS[button]}" in browser.open(page)

    arrived = browser.enter(button)

    assert identity.refused == []
    assert arrived.url == f"{system.base_url}/dashboard/", arrived.text
    assert browser.email == f"{button}-user@example.com"
    # Whatever address it has there by now: it is the same account.
    identity.person = Person("7001", f"{button}-moved@example.com")
    again = Browser(system)
    again.enter(button)
    assert again.email == f"{button}-user@example.com"


@pytest.mark.parametrize("verified", [True, False])
def test_nobody_gets_an_account_by_its_address(
    system: System, identity: Provider, verified: bool
) -> None:
    system.account("victim@example.com", "5")
    identity.person = Person(f"800{verified:d}", "victim@example.com", verified)
    browser = Browser(system)

    stopped = browser.enter("google")

    assert browser.email is None
    assert "$5.00" not in stopped.text
    # Asked for another address; that of somebody else is refused.
    refused = browser.press(
        "/accounts/3rdparty/signup/", "/accounts/3rdparty/signup/", email="victim@example.com"
    )
    assert "already" in refused.text
    assert browser.email is None


def test_going_back_at_the_provider_changes_nothing(system: System, identity: Provider) -> None:
    identity.person = None
    browser = Browser(system)

    assert "You went back" in browser.enter("sso").text
    assert browser.email is None


def test_a_second_provider_is_connected_in_the_settings(system: System, identity: Provider) -> None:
    identity.person = Person("9001", "both@example.com")
    browser = Browser(system)
    browser.enter("google")
    identity.person = Person("9002", "both-at-github@example.com")

    page = browser.enter("github", at="/accounts/3rdparty/").text

    assert "GitHub" in page
    other = Browser(system)
    other.enter("github")
    assert other.email == "both@example.com"


def test_a_callback_that_nobody_asked_for_is_refused(system: System, identity: Provider) -> None:
    identity.person = Person("9003", "forged@example.com")
    browser = Browser(system)
    answer = browser.session.get(
        f"{system.base_url}/accounts/oidc/google/login/callback/?code=x&state=y", timeout=30
    )

    assert "That did not work" in answer.text
    assert browser.email is None


def test_everything_is_taken_along(system: System, identity: Provider) -> None:
    identity.person = Person("9004", "leaver@example.com")
    browser = Browser(system)
    browser.enter("google")
    answer = browser.press("/dashboard/settings/", "/dashboard/settings/export")

    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        about = json.loads(archive.read("account.json"))
        assert "jobs.jsonl" in archive.namelist()
    assert about["addresses"] == [
        {"email": "leaver@example.com", "verified": True, "primary": True}
    ]
    assert [one["uid"] for one in about["connected_accounts"]] == ["9004"]


def test_the_explorer_says_what_its_page_may_do(system: System) -> None:
    answer = requests.get(f"{system.base_url}/api/v1/docs", timeout=30)

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert not re.search(r"<script>|\son[a-z]+=", answer.text)
