"""An operator at work: the admin's dialogs and the deployments page, under their policies."""

from playwright.sync_api import Page, expect

from tests.browser.axe import overflows, serious
from tests.browser.conftest import SignUp, agree
from tests.system import System


def test_an_operator_grants_credit_and_stops_a_model(
    page: Page, system: System, sign_up: SignUp
) -> None:
    sign_up(page, "olga@example.com")
    system.manage("account", "olga@example.com", "--staff")

    page.goto("/admin/")
    expect(page.get_by_text("Revenue and cost")).to_be_visible()
    page.get_by_role("link", name="Accounts").first.click()
    page.get_by_role("link", name="olga@example.com").first.click()
    page.get_by_text("Grant credit").first.click()
    page.get_by_label("USD").fill("2.50")
    page.get_by_label("Reason").fill("to try it")
    page.locator("#dialog").get_by_role("button", name="Grant credit").click()
    expect(page.get_by_text("olga@example.com was given $2.50.")).to_be_visible()

    page.goto("/dashboard/deployments/")
    tile = page.get_by_role("article", name="kokoro", exact=True)
    tile.get_by_role("button", name="Stop").click()
    assert "waiting ones fail and cost nothing" in agree(page, "Stop")
    expect(tile.get_by_text("stopped")).to_be_visible()
    tile.get_by_role("button", name="Start").click()
    expect(tile.get_by_text("asleep")).to_be_visible()

    tile.get_by_role("button", name="Settings").click()
    page.locator("dialog[open] [name=replicas]").fill("3")
    page.locator("dialog[open]").get_by_role("button", name="Save").click()
    expect(tile.get_by_text("0 of 3")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert serious(page) == [], scheme
    assert not overflows(page)
