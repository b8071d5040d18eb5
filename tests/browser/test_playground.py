"""The playground: what is pressed there is answered by real models, streams, stops and costs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.axe import overflows, serious
from tests.browser.conftest import PATIENCE_MS, SignUp
from tests.system import System

EMAIL = "polly@example.com"
PAGES = "/dashboard/playground/"
RECORDING = Path("static/modelpilot/gallery/piper-joe.mp3").resolve()
EACH_KIND = [
    "",
    "smollm2-135m/",
    "emoji-64/",
    "piper-joe/",
    "emoji-64-video/",
    "all-minilm-l6-v2/",
    "pocketsphinx/",
]
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

# All that is said of how a run stands.
TOLD = """
window.told = new Set();
const phase = document.getElementById("phase");
new MutationObserver(() => window.told.add(phase.textContent)).observe(phase, { childList: true });
"""


@pytest.fixture(scope="module")
def account(browser: Browser, system: System, sign_up: SignUp) -> tuple[Any, str]:
    """Somebody with a dollar: the browser's cookies, and a key."""
    context = browser.new_context(base_url=system.base_url)
    context.set_default_timeout(PATIENCE_MS)
    sign_up(context.new_page(), EMAIL)
    cookies = context.cookies()
    context.close()
    return cookies, system.account(EMAIL, credit="1")


@pytest.fixture
def polly(page: Page, account: tuple[Any, str]) -> Page:
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


def open_model(page: Page, model: str) -> None:
    """Its page, once the scripts listen: then the first thing that they do is to ask the price."""
    with page.expect_response("**/api/v1/quote"):
        page.goto(f"{PAGES}{model}/")


def quoted(page: Page) -> float:
    price = page.locator("#price")
    expect(price).to_contain_text("$")
    return dollars(price)


def has_settled(page: Page) -> None:
    expect(page.locator("#receipt")).to_contain_text("balance", timeout=SOON_MS)


def test_a_chat_streams_remembers_and_costs_what_was_quoted(polly: Page) -> None:
    open_model(polly, "smollm2-135m")
    polly.evaluate(WATCH)
    price = quoted(polly)
    before = dollars(polly.locator(".balance b"))
    message = polly.get_by_label("Message", exact=True)

    # The likeliest words, which are the same each time.
    polly.get_by_label("Temperature").fill("0")
    polly.get_by_label("Longest answer").fill("40")
    message.fill("What is the capital of France?")
    message.press("Control+Enter")
    has_settled(polly)
    expect(polly.locator(".turn.assistant")).to_contain_text("Paris")
    assert polly.evaluate("window.lengths.size") > 1, "it came at once"
    after = dollars(polly.locator(".balance b"))
    assert before - after == pytest.approx(price) == newest_job(polly)["cost"]
    assert after == api(polly, "balance")["available"]

    message.fill("Write <b>three</b> words.")
    polly.get_by_role("button", name="Send").click()
    expect(polly.locator(".turn.assistant footer")).to_have_count(2, timeout=SOON_MS)
    has_settled(polly)
    asked = newest_job(polly)["request"]["messages"]
    assert [one["role"] for one in asked] == ["user", "assistant", "user"]
    expect(polly.locator(".turn.user").last).to_have_text("Write <b>three</b> words.")

    polly.reload()
    polly.locator("#latest button").last.click()
    expect(polly.locator(".turn.user")).to_have_text("What is the capital of France?")


def test_stop_stops_and_keeps_what_was_said(polly: Page) -> None:
    open_model(polly, "echo-slow")
    polly.get_by_label("Longest answer").fill("2000")
    message = polly.get_by_label("Message", exact=True)
    message.fill("one two three")
    message.press("Control+Enter")
    said = polly.locator(".turn.assistant .said")
    expect(said).to_contain_text("one two three one", timeout=SOON_MS)

    polly.keyboard.press("Escape")
    expect(polly.locator(".turn.assistant footer")).to_contain_text("stopped")
    has_settled(polly)
    job = newest_job(polly)
    assert (job["state"], job["cost"]) == ("cancelled", 0.001)
    assert len(said.inner_text()) < 5000
    expect(polly.get_by_role("button", name="Send")).to_be_visible()


def test_thoughts_and_code_are_told_apart(polly: Page) -> None:
    open_model(polly, "echo")
    polly.get_by_label("Longest answer").fill("8")
    message = polly.get_by_label("Message", exact=True)
    message.fill("<think>plan it</think> run `<img src=x>` now")
    message.press("Control+Enter")
    has_settled(polly)

    thoughts = polly.locator(".turn.assistant .thoughts")
    expect(thoughts.locator("p")).to_be_hidden()
    thoughts.locator("summary").click()
    expect(thoughts).to_contain_text("plan it")
    expect(polly.locator(".said code").first).to_have_text("<img src=x>")


def test_a_picture_has_its_size_and_its_price(polly: Page, account: tuple[Any, str]) -> None:
    open_model(polly, "emoji-64")
    one = quoted(polly)
    polly.get_by_label("Prompt").fill("a red apple on a white background")
    polly.get_by_label("Width").fill("320")
    polly.get_by_label("Height").fill("256")
    polly.get_by_label("Pictures").fill("2")
    polly.get_by_label("Seed").fill("7")
    expect(polly.locator("#price")).to_have_text(f"${2 * one:g}")

    polly.evaluate(TOLD)
    polly.keyboard.press("Control+Enter")
    has_settled(polly)
    # Cold, it says for how long it will load; warm, how far it is.
    told = polly.evaluate("[...window.told].join()")
    assert re.search(r"about \d+ s|Working \d+ %", told), told
    pictures = polly.locator(".made img")
    expect(pictures).to_have_count(2)
    for number in range(2):
        shape = pictures.nth(number).evaluate(
            "async (img) => { await img.decode(); return [img.naturalWidth, img.naturalHeight]; }"
        )
        assert shape == [320, 256]
    job = newest_job(polly)
    assert job["cost"] == pytest.approx(2 * one)
    assert (job["request"]["seed"], len(job["outputs"])) == (7, 2)
    expect(polly.locator("#latest img")).to_have_count(1)

    # The form as code does the same by key.
    polly.get_by_role("button", name="Code").click()
    shown = polly.locator("#code").inner_text()
    environment = {**os.environ, "MODELPILOT_KEY": account[1]}
    done = subprocess.run(
        ["bash", "-c", f"{shown} --silent --output /dev/null --write-out '%{{http_code}}'"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout in ("200", "202")
    by_key = newest_job(polly)
    assert by_key["id"] != job["id"]
    assert by_key["request"] == job["request"]

    # And again from the gallery, as it was.
    polly.reload()
    polly.locator("#latest button").last.click()
    polly.get_by_role("button", name="Use these parameters").click()
    expect(polly.get_by_label("Prompt")).to_have_value("a red apple on a white background")
    expect(polly.get_by_label("Width")).to_have_value("320")
    expect(polly.get_by_label("Seed")).to_have_value("7")

    polly.get_by_role("button", name="Begin with this").first.click()
    expect(polly.locator("[data-picked] img")).to_be_visible()
    polly.get_by_role("button", name="Generate").click()
    has_settled(polly)
    assert "base64" in newest_job(polly)["request"]["image"]


def test_a_wrong_field_is_told_beside_it(polly: Page) -> None:
    open_model(polly, "emoji-64")
    width = polly.get_by_label("Width")
    beside = polly.locator('[data-field="width"] .errorlist')
    newest = newest_job(polly)["id"]

    width.fill("5000")
    polly.get_by_label("Prompt").fill("a fox")
    # The price already says so, and the button says it again.
    expect(beside).to_contain_text("'width' must be from 64 to 1024")
    polly.get_by_role("button", name="Generate").click()
    expect(beside).to_contain_text("you sent 5000")
    expect(width).to_be_focused()
    expect(width).to_have_attribute("aria-invalid", "true")
    assert serious(polly) == []

    width.fill("512")
    expect(beside).to_be_hidden()
    polly.get_by_label("Prompt").fill(" ")
    polly.get_by_role("button", name="Generate").click()
    expect(polly.locator('[data-field="prompt"] .errorlist')).to_contain_text("must not be empty")
    assert newest_job(polly)["id"] == newest


def test_speech_can_be_heard(polly: Page) -> None:
    open_model(polly, "piper-joe")
    polly.get_by_label("Text to speak").fill("Hello. This is the second sentence.")
    polly.keyboard.press("Control+Enter")
    has_settled(polly)
    seconds = polly.locator(".made audio").evaluate(
        """async (audio) => {
          if (audio.readyState < 1) await new Promise((done) => { audio.onloadedmetadata = done; });
          return audio.duration;
        }"""
    )
    assert 1 < seconds < 10


def test_a_film_shows_its_progress_and_plays(polly: Page) -> None:
    open_model(polly, "emoji-64-video")
    polly.get_by_label("Prompt").fill("a fox drifting to the left")
    polly.keyboard.press("Control+Enter")
    expect(polly.locator("#phase")).to_contain_text(re.compile(r"Working \d+ %"), timeout=SOON_MS)

    # Whoever comes back finds it where it is.
    polly.reload()
    has_settled(polly)
    film = polly.locator(".made video")
    expect(film).to_have_js_property("videoWidth", 256)
    assert film.evaluate("(film) => film.error") is None


def code(page: Page, language: str) -> str:
    """The form as a program."""
    page.get_by_role("button", name="Code").click()
    page.get_by_role("tab", name=language).click()
    shown = page.locator("#code").inner_text()
    page.get_by_role("button", name="Close").click()
    return shown


def run(program: list[str], key: str, folder: Path) -> str:
    """What the program prints, with the key in its environment."""
    done = subprocess.run(
        program,
        env={**os.environ, "MODELPILOT_KEY": key},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_texts_are_compared(polly: Page, account: tuple[Any, str], tmp_path: Path) -> None:
    open_model(polly, "all-minilm-l6-v2")
    price = quoted(polly)
    polly.get_by_text("How do I reset my password?").click()
    polly.keyboard.press("Control+Enter")
    has_settled(polly)

    near = polly.locator(".near li")
    expect(near).to_have_count(3)
    expect(near.first).to_contain_text("I can't sign in any more.")
    expect(polly.locator(".heat rect")).to_have_count(16)
    assert serious(polly) == []
    job = newest_job(polly)
    assert job["cost"] == pytest.approx(price)
    assert len(job["request"]["inputs"]) == 4

    assert "384" in run([sys.executable, "-c", code(polly, "Python")], account[1], tmp_path)
    assert newest_job(polly)["request"] == job["request"]
    polly.reload()
    polly.locator("#latest button").first.click()
    expect(polly.get_by_label("Texts")).to_have_value(re.compile("password.*\n.*sign in"))


def test_a_recording_is_written_down(polly: Page, account: tuple[Any, str], tmp_path: Path) -> None:
    open_model(polly, "pocketsphinx")
    price = quoted(polly)
    polly.get_by_role("button", name="Write it down").click()
    beside = polly.locator('[data-field="file"] .errorlist')
    expect(beside).to_have_text("Choose or record something first.")
    polly.locator("[data-recording]").click()
    expect(beside).to_be_hidden()
    polly.get_by_role("button", name="Write it down").click()
    has_settled(polly)
    heard = polly.locator("#stage")
    expect(heard).to_contain_text("voice of piper")
    assert serious(polly) == []
    assert newest_job(polly)["cost"] == pytest.approx(price)

    # A file of one's own, and the same by the programs.
    polly.get_by_label("Recording").set_input_files(RECORDING)
    shutil.copy(RECORDING, tmp_path / "recording.mp3")
    for program in (
        ["bash", "-c", code(polly, "curl")],
        [sys.executable, "-c", code(polly, "Python")],
    ):
        assert "voice of piper" in run(program, account[1], tmp_path)


def test_without_credit_it_says_so(page: Page, sign_up: SignUp) -> None:
    sign_up(page, "piers@example.com")
    page.goto(f"{PAGES}echo/")
    message = page.get_by_label("Message", exact=True)
    message.fill("hello")
    message.press("Control+Enter")

    expect(page.locator("#trouble")).to_contain_text("credit")
    expect(message).to_have_value("hello")


def test_further_parameters_are_accessible_and_fit_a_phone(
    phone: Page, account: tuple[Any, str]
) -> None:
    phone.context.add_cookies(account[0])
    for path in EACH_KIND:
        phone.goto(PAGES + path)
        for folded in phone.get_by_text("More parameters").all():
            folded.click()
        assert not overflows(phone), path
        for scheme in ("light", "dark"):
            phone.emulate_media(color_scheme=scheme)
            assert serious(phone) == [], (path, scheme)
