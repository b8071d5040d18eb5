"""From signing up to signing in with a code of the authenticator app."""

import base64
import hmac
import time

from playwright.sync_api import Page, expect

from tests.browser.axe import overflows, serious
from tests.browser.conftest import PASSWORD, SignUp


def code_now(secret: str) -> str:
    """RFC 6238, as an authenticator app has it."""
    counter = int(time.time() // 30).to_bytes(8, "big")
    digest = hmac.digest(base64.b32decode(secret), counter, "sha1")
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 10**6:06d}"


def test_a_second_factor_from_signing_up_to_signing_in(page: Page, sign_up: SignUp) -> None:
    sign_up(page, "tess@example.com")
    page.goto("/dashboard/settings/")
    assert (serious(page), overflows(page)) == ([], False)
    page.get_by_role("link", name="Turn on").click()
    page.get_by_role("link", name="Activate").click()
    # The account was entered by the link in the mail: the password was not asked for yet.
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    secret = page.get_by_label("Authenticator secret").input_value()
    page.get_by_label("Authenticator code").fill(code_now(secret))
    page.get_by_role("button", name="Activate").click()
    page.wait_for_url("**/2fa/recovery-codes/**")
    page.goto("/dashboard/settings/")
    expect(page.get_by_role("row", name="Two-factor sign-in")).to_contain_text("on")

    page.locator("details.account summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill("tess@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/2fa/authenticate/**")
    page.goto("/dashboard/")
    expect(page.get_by_role("heading", name="Two-factor sign-in")).to_be_visible()

    page.get_by_label("Code").fill(code_now(secret))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_leaving_asks_twice_and_means_it(page: Page, sign_up: SignUp) -> None:
    sign_up(page, "leon@example.com")
    page.goto("/dashboard/settings/")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download everything").click()
    assert download.value.suggested_filename.endswith(".zip")
    page.get_by_role("link", name="Delete the account").click()
    assert (serious(page), overflows(page)) == ([], False)
    page.get_by_label("Type your e-mail address").fill("leon@example.com")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Delete it for ever").click()
    expect(page.get_by_text("Your account is deleted.")).to_be_visible()

    page.goto("/accounts/login/")
    page.get_by_label("Email").fill("leon@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("are not correct")).to_be_visible()
