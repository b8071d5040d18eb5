"""From a key to a job and back, as a person clicks it; all pages, on a desk and on a phone."""

import re

import requests
from playwright.sync_api import Page, expect

from tests.browser.axe import overflows, serious
from tests.browser.conftest import SignUp, agree
from tests.system import System

PAGES = ["", "jobs/", "keys/", "usage/", "webhooks/"]


def make_key(page: Page) -> str:
    page.goto("/dashboard/keys/")
    page.get_by_label("Name").fill("my program")
    page.get_by_role("button", name="Make the key").click()
    return page.locator("#fresh").inner_text().strip()


def look_at(page: Page, paths: list[str]) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for path in paths:
            page.goto(path)
            assert serious(page) == [], (path, scheme)
            assert not overflows(page), path


def credit(page: Page) -> None:
    """Buy some on the stand-in for Stripe, by its own page."""
    checkout = page.evaluate(
        """async () => {
            const { call } = await import("/static/modelpilot/api.js");
            const bought = await call("billing/checkout", { method: "POST", body: { amount: 5 } });
            return bought.checkout_url ?? bought.url;
        }"""
    )
    page.goto(checkout)
    page.get_by_role("button").first.click()
    page.wait_for_url("**/dashboard/billing/**")


def test_a_key_a_job_and_its_end(page: Page, sign_up: SignUp, system: System) -> None:
    sign_up(page, "keyes@example.com")
    expect(page.get_by_text("Three steps to your first answer")).to_be_visible()
    credit(page)
    key = make_key(page)
    asked = {"model": "echo", "messages": [{"role": "user", "content": "one <i>two</i> three"}]}
    url = f"{system.base_url}/api/v1/chat/completions"
    headers = {"Authorization": f"Bearer {key}"}
    assert requests.post(url, json=asked, headers=headers, timeout=60).status_code == 200

    page.goto("/dashboard/")
    page.get_by_role("link", name="one <i>two</i> three").click()
    expect(page.get_by_role("heading", name="echo")).to_be_visible()
    expect(page.locator("#code-curl")).to_contain_text("one <i>two</i> three")
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#code-python")).to_contain_text("import requests")
    job = page.url
    look_at(page, [f"/dashboard/{path}" for path in PAGES] + [job])

    page.goto(job)
    page.get_by_role("button", name="Run again").click()
    agree(page, "Run again")
    page.wait_for_url(lambda there: there != job and "/jobs/" in there)
    expect(page.get_by_text("succeeded")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete")).to_be_focused()
    page.get_by_role("button", name="Delete").click()
    agree(page, "Delete")
    expect(page.get_by_text("The content is deleted")).to_be_visible()

    page.goto("/dashboard/jobs/")
    page.get_by_label("State").select_option("failed")
    expect(page.get_by_text("No such job")).to_be_visible()
    expect(page).to_have_url(re.compile("state=failed"))
    page.go_back()
    expect(page.get_by_label("State")).to_have_value("")
    expect(page.get_by_role("row")).to_have_count(3)

    page.goto("/dashboard/keys/")
    page.get_by_role("button", name="Revoke").click()
    agree(page, "Revoke")
    expect(page.get_by_text("is revoked")).to_be_visible()
    refused = requests.post(url, json=asked, headers=headers, timeout=60)
    assert refused.status_code == 401
    assert "was revoked" in refused.json()["error"]["message"]


def test_a_phone_shows_all_of_it(phone: Page, sign_up: SignUp) -> None:
    sign_up(phone, "fiona@example.com")
    make_key(phone)
    look_at(phone, [f"/dashboard/{path}" for path in PAGES])
