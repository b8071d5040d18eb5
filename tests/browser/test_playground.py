"""The playground: what is pressed there is answered by real models, streams, stops and costs."""

import os
import re
import subprocess
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.axe import overflows, serious
from tests.browser.conftest import SignUp
from tests.system import System

EMAIL = "paula@example.com"
PAGES = "/dashboard/playground/"
# The machine may be busy, and a model has to be loaded first.
SOON_MS = 180_000
# How much of an answer was there at each moment.
WATCH = """
window.lengths = new Set();
new MutationObserver(() => {
  const said = document.querySelector(".turn.assistant .said");
  if (said) window.lengths.add(said.textContent.length);
}).observe(document.getElementById("turns"), { childList: true, subtree: true });
"""


@pytest.fixture(scope="module")
def account(browser: Browser, system: System, sign_up: SignUp) -> tuple[Any, str]:
    """Somebody with a dollar: the browser's cookies, and a key."""
    context = browser.new_context(base_url=system.base_url)
    context.set_default_timeout(15_000)
    sign_up(context.new_page(), EMAIL)
    cookies = context.cookies()
    context.close()
    return cookies, system.account(EMAIL, credit="1")


@pytest.fixture
def paula(page: Page, account: tuple[Any, str]) -> Page:
    page.context.add_cookies(account[0])
    page.set_default_timeout(SOON_MS)
    return page


def dollars(words: Locator) -> float:
    found = re.search(r"\$(\d+\.\d+)", words.inner_text())
    assert found is not None, words.inner_text()
    return float(found[1])


def api(page: Page, path: str) -> Any:
    answer = page.request.get(f"/api/v1/{path}")
    assert answer.ok, answer.text()
    return answer.json()


def newest_job(page: Page) -> Any:
    return api(page, "jobs?limit=1")["data"][0]


def quoted(page: Page) -> float:
    price = page.locator("#price")
    expect(price).to_contain_text("$")
    return dollars(price)


def has_settled(page: Page) -> None:
    expect(page.locator("#receipt")).to_contain_text("balance", timeout=SOON_MS)


def test_a_chat_streams_remembers_and_costs_what_was_quoted(paula: Page) -> None:
    paula.goto(f"{PAGES}smollm2-135m/")
    paula.evaluate(WATCH)
    price = quoted(paula)
    before = dollars(paula.locator(".balance b"))
    message = paula.get_by_label("Message", exact=True)

    message.fill("What is the capital of France?")
    message.press("Control+Enter")
    has_settled(paula)
    expect(paula.locator(".turn.assistant")).to_contain_text("Paris")
    assert paula.evaluate("window.lengths.size") > 2, "it came at once"
    after = dollars(paula.locator(".balance b"))
    assert before - after == pytest.approx(price) == newest_job(paula)["cost"]
    assert after == api(paula, "balance")["available"]

    message.fill("Write <b>three</b> words.")
    paula.get_by_role("button", name="Send").click()
    expect(paula.locator(".turn.assistant footer")).to_have_count(2, timeout=SOON_MS)
    has_settled(paula)
    asked = newest_job(paula)["request"]["messages"]
    assert [one["role"] for one in asked] == ["user", "assistant", "user"]
    expect(paula.locator(".turn.user").last).to_have_text("Write <b>three</b> words.")

    paula.reload()
    paula.locator("#latest button").last.click()
    expect(paula.locator(".turn.user")).to_have_text("What is the capital of France?")


def test_stop_stops_and_keeps_what_was_said(paula: Page) -> None:
    paula.goto(f"{PAGES}echo-slow/")
    paula.get_by_label("Longest answer").fill("2000")
    message = paula.get_by_label("Message", exact=True)
    message.fill("one two three")
    message.press("Control+Enter")
    said = paula.locator(".turn.assistant .said")
    expect(said).to_contain_text("one two three one", timeout=SOON_MS)

    paula.keyboard.press("Escape")
    expect(paula.locator(".turn.assistant footer")).to_contain_text("stopped")
    has_settled(paula)
    job = newest_job(paula)
    assert (job["state"], job["cost"]) == ("cancelled", 0.001)
    assert len(said.inner_text()) < 5000
    expect(paula.get_by_role("button", name="Send")).to_be_visible()


def test_thoughts_and_code_are_told_apart(paula: Page) -> None:
    paula.goto(f"{PAGES}echo/")
    paula.get_by_label("Longest answer").fill("8")
    message = paula.get_by_label("Message", exact=True)
    message.fill("<think>plan it</think> run `<img src=x>` now")
    message.press("Control+Enter")
    has_settled(paula)

    thoughts = paula.locator(".turn.assistant .thoughts")
    expect(thoughts.locator("p")).to_be_hidden()
    thoughts.locator("summary").click()
    expect(thoughts).to_contain_text("plan it")
    expect(paula.locator(".said code").first).to_have_text("<img src=x>")


def test_a_picture_has_its_size_and_its_price(paula: Page, account: tuple[Any, str]) -> None:
    paula.goto(f"{PAGES}emoji-64/")
    one = quoted(paula)
    paula.get_by_label("Prompt").fill("a red apple on a white background")
    paula.get_by_label("Width").fill("320")
    paula.get_by_label("Height").fill("256")
    paula.get_by_label("Pictures").fill("2")
    paula.get_by_label("Seed").fill("7")
    expect(paula.locator("#price")).to_have_text(f"${2 * one:g}")

    paula.keyboard.press("Control+Enter")
    expect(paula.locator("#phase")).to_contain_text(re.compile(r"about \d+ s"))
    has_settled(paula)
    pictures = paula.locator(".made img")
    expect(pictures).to_have_count(2)
    for number in range(2):
        shape = pictures.nth(number).evaluate(
            "async (img) => { await img.decode(); return [img.naturalWidth, img.naturalHeight]; }"
        )
        assert shape == [320, 256]
    job = newest_job(paula)
    assert job["cost"] == pytest.approx(2 * one)
    assert (job["request"]["seed"], len(job["outputs"])) == (7, 2)
    expect(paula.locator("#latest img")).to_have_count(1)

    # The form as code does the same by key.
    paula.get_by_role("button", name="Code").click()
    shown = paula.locator("#code").inner_text()
    environment = {**os.environ, "MODELPILOT_KEY": account[1]}
    done = subprocess.run(
        ["bash", "-c", f"{shown} --silent --output /dev/null --write-out '%{{http_code}}'"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout in ("200", "202")
    by_key = newest_job(paula)
    assert by_key["id"] != job["id"]
    assert by_key["request"] == job["request"]

    # And again from the gallery, as it was.
    paula.reload()
    paula.locator("#latest button").last.click()
    paula.get_by_role("button", name="Use these parameters").click()
    expect(paula.get_by_label("Prompt")).to_have_value("a red apple on a white background")
    expect(paula.get_by_label("Width")).to_have_value("320")
    expect(paula.get_by_label("Seed")).to_have_value("7")

    paula.get_by_role("button", name="Begin with this").first.click()
    expect(paula.locator("[data-picked] img")).to_be_visible()
    paula.get_by_role("button", name="Generate").click()
    has_settled(paula)
    assert "base64" in newest_job(paula)["request"]["image"]


def test_a_wrong_field_is_told_beside_it(paula: Page) -> None:
    paula.goto(f"{PAGES}emoji-64/")
    width = paula.get_by_label("Width")
    beside = paula.locator('[data-field="width"] .errorlist')
    newest = newest_job(paula)["id"]

    width.fill("5000")
    paula.get_by_label("Prompt").fill("a fox")
    # The price already says so, and the button says it again.
    expect(beside).to_contain_text("'width' must be from 64 to 1024")
    paula.get_by_role("button", name="Generate").click()
    expect(beside).to_contain_text("you sent 5000")
    expect(width).to_be_focused()
    expect(width).to_have_attribute("aria-invalid", "true")
    assert serious(paula) == []

    width.fill("512")
    expect(beside).to_be_hidden()
    paula.get_by_label("Prompt").fill(" ")
    paula.get_by_role("button", name="Generate").click()
    expect(paula.locator('[data-field="prompt"] .errorlist')).to_contain_text("must not be empty")
    assert newest_job(paula)["id"] == newest


def test_speech_can_be_heard(paula: Page) -> None:
    paula.goto(f"{PAGES}piper-joe/")
    paula.get_by_label("Text to speak").fill("Hello. This is the second sentence.")
    paula.keyboard.press("Control+Enter")
    has_settled(paula)
    seconds = paula.locator(".made audio").evaluate(
        """async (audio) => {
          if (audio.readyState < 1) await new Promise((done) => { audio.onloadedmetadata = done; });
          return audio.duration;
        }"""
    )
    assert 1 < seconds < 10


def test_a_film_shows_its_progress_and_plays(paula: Page) -> None:
    paula.goto(f"{PAGES}emoji-64-video/")
    paula.get_by_label("Prompt").fill("a fox drifting to the left")
    paula.keyboard.press("Control+Enter")
    expect(paula.locator("#phase")).to_contain_text(re.compile(r"Working \d+ %"), timeout=SOON_MS)

    # Whoever comes back finds it where it is.
    paula.reload()
    has_settled(paula)
    film = paula.locator(".made video")
    expect(film).to_have_js_property("videoWidth", 256)
    assert film.evaluate("(film) => film.error") is None


def test_without_credit_it_says_so(page: Page, sign_up: SignUp) -> None:
    sign_up(page, "petra@example.com")
    page.goto(f"{PAGES}echo/")
    message = page.get_by_label("Message", exact=True)
    message.fill("hello")
    message.press("Control+Enter")

    expect(page.locator("#trouble")).to_contain_text("credit")
    expect(message).to_have_value("hello")


def test_the_pages_are_accessible_and_small(paula: Page) -> None:
    sizes: list[int] = []
    paula.on(
        "response",
        lambda response: (
            None if "/outputs/" in response.url else sizes.append(len(response.body()))
        ),
    )
    for path in ("", "smollm2-135m/", "emoji-64/", "piper-joe/", "emoji-64-video/"):
        for scheme in ("light", "dark"):
            paula.emulate_media(color_scheme=scheme)
            sizes.clear()
            paula.goto(PAGES + path)
            paula.wait_for_load_state("networkidle")
            for folded in paula.get_by_text("More parameters").all():
                folded.click()
            assert serious(paula) == [], (path, scheme)
            assert sum(sizes) < 120_000, path


def test_the_pages_fit_a_phone(phone: Page, account: tuple[Any, str]) -> None:
    phone.context.add_cookies(account[0])
    for path in ("", "smollm2-135m/", "emoji-64/", "piper-joe/", "emoji-64-video/"):
        phone.goto(PAGES + path)
        assert not overflows(phone), path
        assert serious(phone) == [], path
