"""The API by a browser's session: as the person, and only from our own pages."""

import re

import pytest
import requests
from django.conf import settings

from tests.api.caller import Caller
from tests.system import System

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def browser(system: System) -> requests.Session:
    """Somebody new who is signed in."""
    session = requests.Session()
    token = csrf_token(session, f"{system.base_url}/accounts/signup/")
    form = {
        "email": "dora@example.com",
        "password1": PASSWORD,
        "csrfmiddlewaretoken": token,
    }
    answer = session.post(f"{system.base_url}/accounts/signup/", form)
    assert answer.url == f"{system.base_url}/dashboard/"
    return session


def csrf_token(session: requests.Session, url: str) -> str:
    found = re.search(
        r'csrf(?:-token" content|middlewaretoken" value)="(\w+)"', session.get(url).text
    )
    assert found is not None
    return found[1]


def test_it_reads_as_the_person(system: System, browser: requests.Session) -> None:
    answer = browser.get(f"{system.base_url}/api/v1/balance")

    assert (answer.status_code, answer.json()["available"]) == (200, 0)
    assert browser.get(f"{system.base_url}/api/v1/key").json()["error"]["code"] == "no_api_key"


def test_it_writes_only_with_the_pages_token(system: System, browser: requests.Session) -> None:
    url = f"{system.base_url}/api/v1/chat/completions"
    body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}

    refused = browser.post(url, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf_failed")
    forged = browser.post(url, json=body, headers={"X-CSRFToken": "a" * 64})
    assert forged.status_code == 403
    # Past the door; there is no money.
    token = csrf_token(browser, f"{system.base_url}/dashboard/")
    answer = browser.post(url, json=body, headers={"X-CSRFToken": token})
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "insufficient_quota")


def test_a_key_beside_the_cookie_is_what_counts(
    system: System, browser: requests.Session, alice: Caller
) -> None:
    url = f"{system.base_url}/api/v1/key"

    assert browser.get(url, headers={"Authorization": f"Bearer {alice.key}"}).status_code == 200
    wrong = browser.get(url, headers={"Authorization": "Bearer mp_live_wrong"})
    assert wrong.status_code == 401


def test_nobody_is_signed_in_by_a_cookie_of_their_own(system: System) -> None:
    made_up = {settings.SESSION_COOKIE_NAME: "a" * 32}
    answer = requests.get(f"{system.base_url}/api/v1/balance", cookies=made_up)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "Sign in again" in answer.json()["error"]["message"]


def test_signing_out_ends_it(system: System) -> None:
    session = requests.Session()
    token = csrf_token(session, f"{system.base_url}/accounts/login/")
    form = {
        "login": "dora@example.com",
        "password": PASSWORD,
        "csrfmiddlewaretoken": token,
    }
    session.post(f"{system.base_url}/accounts/login/", form)
    cookies = dict(session.cookies)
    url = f"{system.base_url}/api/v1/balance"
    assert requests.get(url, cookies=cookies).status_code == 200

    token = csrf_token(session, f"{system.base_url}/dashboard/")
    session.post(f"{system.base_url}/accounts/logout/", {"csrfmiddlewaretoken": token})

    assert requests.get(url, cookies=cookies).status_code == 401
