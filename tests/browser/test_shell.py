"""Signing up, finding one's way, and the same for a phone, a keyboard and a screen reader."""

import re
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.axe import overflows, serious
from tests.browser.conftest import PASSWORD, PATIENCE_MS, SignUp
from tests.browser.wire import weighed
from tests.system import System


def test_signing_up_leads_to_the_dashboard(page: Page, sign_up: SignUp) -> None:
    sign_up(page, "dora@example.com")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.goto("/dashboard/")
    page.get_by_text("dora@example.com").click()
    page.get_by_role("button", name="Sign out").click()
    page.goto("/dashboard/")
    page.get_by_label("Email").fill("dora@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_the_phone_has_a_menu(phone: Page, sign_up: SignUp) -> None:
    sign_up(phone, "phoebe@example.com")
    link = phone.get_by_role("navigation", name="Dashboard").get_by_role("link", name="Overview")
    expect(link).to_be_hidden()

    phone.get_by_role("button", name="Menu").click()
    expect(link).to_be_visible()
    phone.keyboard.press("Escape")
    expect(link).to_be_hidden()
    assert serious(phone) == []


def test_the_theme_is_remembered(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    page.goto("/")
    page.get_by_role("button", name="Light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")

    page.goto("/accounts/login/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_keyboard_skips_to_the_content(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    assert page.evaluate("document.activeElement.id") == "main"


def test_one_language_is_that_of_all_samples(page: Page) -> None:
    page.goto("/docs/chat")
    page.get_by_role("tab", name="Python").last.click()
    page.goto("/docs/images")
    shown = page.get_by_role("tabpanel")
    expect(shown.first).to_contain_text("import requests")
    assert page.get_by_role("tab", name="curl", selected=True).count() == 0

    page.get_by_role("tab", name="Python").first.press("ArrowRight")
    expect(shown.first).to_contain_text("await fetch")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorer_asks_nobody_else(phone: Page, scheme: Literal["light", "dark"]) -> None:
    phone.emulate_media(color_scheme=scheme)
    phone.goto("/api/v1/docs")
    expect(phone.get_by_role("heading", name="ModelPilot")).to_be_visible()
    # Swagger puts a button into a button: all else must be right.
    assert [each for each in serious(phone) if "nested-interactive" not in each] == []
    assert not overflows(phone)

    phone.get_by_text("Create a chat completion").click()
    expect(phone.get_by_role("button", name="Try it out")).to_be_visible()
    phone.get_by_role("link", name="Docs").click()
    expect(phone.get_by_role("heading", name="Quickstart")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/docs/chat", "/accounts/login/"])
def test_a_page_is_small(page: Page, path: str) -> None:
    def load() -> None:
        page.goto(path)
        page.wait_for_load_state("networkidle")

    size, answers = weighed(page, load)
    assert size < 100_000
    assert answers < 15


def test_each_tab_of_the_front_page_shows_what_came_of_it(page: Page) -> None:
    page.goto("/")
    for tab, made in (("Chat", "p"), ("Picture", "img"), ("Speech", "audio"), ("Video", "video")):
        page.get_by_role("tab", name=tab).click()
        panel = page.get_by_role("tabpanel", name=tab)
        expect(panel.locator("pre")).to_contain_text("/api/v1/")
        expect(panel.locator(f".answer {made}")).to_be_visible()
        assert serious(page) == [], tab


def test_a_key_is_copied_where_the_browser_has_no_clipboard(page: Page) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.goto("/")
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied").first).to_be_visible()


def test_what_needs_no_script_works_without(
    browser: Browser, system: System, sign_up: SignUp
) -> None:
    """Signing in, a key, choosing jobs, revoking: forms and links."""
    context = browser.new_context(base_url=system.base_url, java_script_enabled=False)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    sign_up(page, "nelly@example.com")
    page.goto("/dashboard/keys/")
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("#fresh")).to_contain_text("mp_live_")
    page.goto("/dashboard/jobs/")
    page.get_by_label("State").select_option("failed")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("state=failed"))
    page.goto("/dashboard/keys/")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("is revoked")).to_be_visible()
    page.goto("/dashboard/playground/echo/")
    expect(page.locator("noscript p")).to_be_visible()
    context.close()
