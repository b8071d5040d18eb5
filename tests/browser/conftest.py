"""Chromium before one running product: real HTTP, real mails in a folder, the stand-in for Stripe.

`page` is somebody new with an empty browser, `phone` the same on a small screen; both fail their
test where the browser complains, or asks anybody but us for anything.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect
from playwright.sync_api import sync_playwright as playwright

from tests.fake_identity.provider import Provider, environment
from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET
from tests.fake_stripe.server import KEY as STRIPE_KEY
from tests.system import CATALOG, System, product

PASSWORD = "correct horse battery"
DESKTOP = (1280, 800)
PHONE = (390, 780)
# A machine may have two cores, and other work.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
# Chromium says it of every answer that is an error, also of those that a test asks for.
EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of 4")

SignUp = Callable[[Page, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shots", metavar="FOLDER", help="keep a picture of every page there")


@pytest.fixture(scope="session")
def shots(pytestconfig: pytest.Config) -> Path | None:
    """Where pictures of pages are kept, if they are."""
    folder = pytestconfig.getoption("--shots")
    return Path(folder) if folder else None


@pytest.fixture(scope="session")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that mails are sent to."""
    return tmp_path_factory.mktemp("mails")


@pytest.fixture(scope="session")
def system(stripe: StripeAccount, identity: Provider, mails: Path) -> Iterator[System]:
    with product(
        MODELPILOT_CATALOG=str(CATALOG),
        MODELPILOT_EMAIL_URL=mails.as_uri(),
        MODELPILOT_WEBHOOK_HTTP_HOSTS="127.0.0.1",
        STRIPE_SECRET_KEY=STRIPE_KEY,
        STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        STRIPE_API_BASE=stripe.pay_base,
        **environment(identity),
    ) as system:
        yield system.start()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path is not None, "apt-get install chromium"
    # Its sandbox doesn't work for root, and what it opens is ours.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextmanager
def watched(context: BrowserContext, system: System, *others: str) -> Iterator[Page]:
    """A page whose complaints fail the test; it may ask the product, and `others`."""
    complaints: list[str] = []
    known = (system.base_url, *others, "data:", "blob:")

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            complaints.append(message.text)

    def on_request(request: Request) -> None:
        if not request.url.startswith(known):
            complaints.append(f"asked {request.url}")

    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    context.on("request", on_request)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def page(browser: Browser, system: System, stripe: StripeAccount) -> Iterator[Page]:
    width, height = DESKTOP
    context = browser.new_context(
        base_url=system.base_url, viewport={"width": width, "height": height}
    )
    with watched(context, system, stripe.pay_base) as page:
        yield page


@pytest.fixture
def phone(browser: Browser, system: System, stripe: StripeAccount) -> Iterator[Page]:
    width, height = PHONE
    context = browser.new_context(
        base_url=system.base_url,
        viewport={"width": width, "height": height},
        has_touch=True,
        is_mobile=True,
    )
    with watched(context, system, stripe.pay_base) as page:
        yield page


@pytest.fixture(scope="session")
def sign_up(mails: Path) -> SignUp:
    """Makes an account on a page, as a person does: form, mail, link, sign in."""

    def make(page: Page, email: str) -> None:
        page.goto("/accounts/signup/")
        page.get_by_label("Email").fill(email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Create the account").click()
        page.wait_for_url("**/confirm-email/")
        page.goto(link_in(mails, email))
        page.get_by_role("button", name="Confirm").click()
        page.wait_for_url("**/dashboard/")

    return make


def agree(page: Page, verb: str) -> str:
    """Say yes to what a page asks; returns its question."""
    dialog = page.locator("dialog.ask[open]")
    question = dialog.locator("p").inner_text()
    dialog.get_by_role("button", name=verb).click()
    return question


def link_in(mails: Path, email: str, within_s: float = PATIENCE_MS / 1000) -> str:
    """The link in the latest mail to that address."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        # Mails of one second may share a file.
        texts = [path.read_text().split("-" * 79) for path in sorted(mails.glob("*.log"))]
        for text in reversed([mail for file in texts for mail in file]):
            found = re.search(r"http://\S+/accounts/\S+", text)
            if f"To: {email}" in text and found:
                return found[0]
        time.sleep(0.1)
    raise AssertionError(f"no mail to {email} in {mails}")
