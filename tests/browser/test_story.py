"""The whole way of somebody new: sign up, key, credit, a chat, a picture, and the key's end."""

from pathlib import Path

import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import SignUp, agree
from tests.browser.test_buying import buy, stats
from tests.browser.test_dashboard import make_key
from tests.browser.test_playground import PAGES as PLAYGROUND
from tests.browser.test_playground import SOON_MS, has_settled
from tests.system import System

QUESTION = "What is the capital of France?"
PICTURE = "a red apple on a white background"


def test_from_signing_up_to_a_revoked_key(
    page: Page, sign_up: SignUp, system: System, shots: Path | None
) -> None:
    page.set_default_timeout(SOON_MS)
    sign_up(page, "nora@example.com")
    key = make_key(page)
    buy(page, "10", first=True)
    assert stats(page)["Available"] == "$15.00"

    page.goto(f"{PLAYGROUND}smollm2-135m/")
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Longest answer").fill("40")
    page.get_by_label("Message", exact=True).fill(QUESTION)
    page.keyboard.press("Control+Enter")
    has_settled(page)
    expect(page.locator(".turn.assistant")).to_contain_text("Paris")

    page.goto(f"{PLAYGROUND}emoji-64/")
    page.get_by_label("Prompt").fill(PICTURE)
    page.keyboard.press("Control+Enter")
    has_settled(page)
    expect(page.locator(".made img")).to_have_count(1)
    if shots is not None:
        page.screenshot(path=shots / "playground.png")

    assert status(system, key) == 200

    page.goto("/dashboard/jobs/")
    jobs = page.locator("#jobs tbody tr")
    expect(jobs).to_have_count(3)
    expect(jobs.nth(1)).to_contain_text(PICTURE)
    expect(jobs.nth(1).locator(".thumbnail img")).to_be_visible()
    expect(jobs.nth(2)).to_contain_text(QUESTION)

    page.goto("/dashboard/usage/")
    expect(page.locator("#usage")).to_contain_text("smollm2-135m")
    expect(page.locator("#usage")).to_contain_text("emoji-64")
    expect(page.locator(".stat .value").first).to_have_text("$0.003")

    page.goto("/dashboard/billing/")
    assert stats(page)["Available"] == "$14.997"

    page.goto("/dashboard/keys/")
    page.get_by_role("button", name="Revoke").click()
    assert "can't be undone" in agree(page, "Revoke")
    expect(page.get_by_text("is revoked")).to_be_visible()
    assert status(system, key) == 401


def status(system: System, key: str) -> int:
    """What the API answers to a request with the key."""
    asked = {"model": "echo", "messages": [{"role": "user", "content": "by key"}], "max_tokens": 2}
    answer = requests.post(
        f"{system.base_url}/api/v1/chat/completions",
        json=asked,
        headers={"Authorization": f"Bearer {key}"},
        timeout=90,
    )
    return answer.status_code
