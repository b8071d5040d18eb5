"""Signing in by an account elsewhere, under the policies that browsers hold pages to."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.axe import serious
from tests.browser.conftest import watched
from tests.fake_identity.provider import Person, Provider
from tests.system import System


@pytest.fixture
def visitor(browser: Browser, system: System, identity: Provider) -> Iterator[Page]:
    context = browser.new_context(base_url=system.base_url)
    with watched(context, system, identity.base) as page:
        yield page


@pytest.mark.parametrize("name", ["GitHub", "Google", "Example Corp"])
def test_a_button_leads_through_the_provider_to_the_dashboard(
    visitor: Page, identity: Provider, name: str
) -> None:
    email = f"{name.split()[0].lower()}@example.com"
    identity.person = Person("4711", email)
    visitor.goto("/accounts/login/")
    assert serious(visitor) == []
    visitor.get_by_role("button", name=f"Continue with {name}").click()
    visitor.wait_for_url("**/dashboard/")
    expect(visitor.get_by_text(email, exact=True)).to_be_visible()
    assert identity.refused == []

    visitor.goto("/accounts/3rdparty/")
    expect(visitor.get_by_role("row").filter(has_text=name)).to_be_visible()
    assert serious(visitor) == []


def test_who_changes_their_mind_comes_back(visitor: Page, identity: Provider) -> None:
    identity.person = None
    visitor.goto("/accounts/login/")
    visitor.get_by_role("button", name="Continue with GitHub").click()
    visitor.wait_for_url("**/accounts/3rdparty/login/cancelled/**")
    assert serious(visitor) == []
