"""Signing up, finding one's way, and the same for a phone, a keyboard and a screen reader."""

import pytest
from playwright.sync_api import Page, Response, expect

from tests.browser.axe import overflows, serious
from tests.browser.conftest import PASSWORD, SignUp

PUBLIC = [
    "/",
    "/models",
    "/models/emoji-64",
    "/pricing",
    "/docs/chat",
    "/docs/errors",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/nothing",
]
PRIVATE = [
    "/dashboard/",
    "/dashboard/billing/",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
    "/accounts/sessions/",
]


def look_at(page: Page, paths: list[str]) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for path in paths:
            page.goto(path)
            assert serious(page) == [], (path, scheme)
            assert not overflows(page), path


def test_public_pages_are_accessible(page: Page) -> None:
    look_at(page, PUBLIC)


def test_public_pages_fit_a_phone(phone: Page) -> None:
    look_at(phone, PUBLIC)


def test_signing_up_leads_to_pages_that_are_accessible(page: Page, sign_up: SignUp) -> None:
    sign_up(page, "dora@example.com")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    look_at(page, PRIVATE)

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
    look_at(phone, PRIVATE)


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


def test_the_explorer_asks_nobody_else(page: Page) -> None:
    page.goto("/api/v1/docs")
    expect(page.get_by_role("heading", name="ModelPilot")).to_be_visible()
    page.get_by_text("Create a chat completion").click()
    expect(page.get_by_role("button", name="Try it out")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/docs/chat", "/accounts/login/"])
def test_a_page_is_small(page: Page, path: str) -> None:
    sizes: list[int] = []

    def on_response(response: Response) -> None:
        # Pictures are what a page is looked at for.
        if "/gallery/" not in response.url:
            sizes.append(len(response.body()))

    page.on("response", on_response)
    page.goto(path)
    page.wait_for_load_state("networkidle")

    assert sum(sizes) < 100_000
    assert len(sizes) < 10
