"""Every page that a link leads to, light and dark, on a desktop and on a phone.

`--shots FOLDER` keeps a picture of each.
"""

from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from django.urls import Resolver404, resolve
from playwright.sync_api import Browser, Page, expect

from tests.api.caller import Caller
from tests.browser.axe import overflows, serious
from tests.browser.conftest import DESKTOP, PATIENCE_MS, PHONE, SignUp, watched
from tests.browser.test_buying import buy
from tests.browser.test_playground import SOON_MS
from tests.browser.wire import weighed
from tests.fake_stripe.account import StripeAccount
from tests.system import System

NOTHING = "/nothing"
# Of the docs, the page with the widest tables.
PUBLIC = [
    "/",
    "/docs/errors",
    "/models/emoji-64",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    NOTHING,
]
# One of each kind.
TRIED = (
    "smollm2-135m", "emoji-64", "emoji-64-video", "piper-joe", "pocketsphinx", "all-minilm-l6-v2"
)  # fmt: skip
# Where nobody is sent by a link, but by what they did.
MORE = ["/admin/", "/accounts/email/", *(f"/dashboard/playground/{model}/" for model in TRIED)]
# What leads away, or is a file.
ELSEWHERE = {
    "account_logout",
    "admin:logout",
    "job-call",
    "job-line",
    "settings-export",
    "socialaccount_login_cancelled",
}
LARGEST = 100_000
# With an empty cache; it comes with unfold's scripts for charts and its typeface of signs.
LARGEST_OF_ADMIN = 620_000
MADE = {
    "chat/completions": {
        "model": "echo",
        "messages": [{"role": "user", "content": "Say it again, please."}],
    },
    "generate/image": {"model": "emoji-64", "prompt": "a red apple", "seed": 1},
    "generate/video": {"model": "emoji-64-video", "prompt": "a fox drifting to the left"},
    "generate/audio": {"model": "piper-joe", "text": "The weather is very nice today."},
}

Sizes = dict[str, tuple[int, int]]


@pytest.fixture(scope="module")
def cookies(
    browser: Browser, system: System, stripe: StripeAccount, sign_up: SignUp
) -> Iterator[Any]:
    """Of an operator who has bought, made one of each kind, and listens to webhooks."""
    context = browser.new_context(base_url=system.base_url)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    sign_up(page, "vera@example.com")
    buy(page, "10", first=True)
    caller = Caller(system.base_url, system.account("vera@example.com", staff=True))
    for path, body in MADE.items():
        made = caller.post(path, body, headers={"Prefer": "respond-async"})
        assert made.status_code == 202, made.text
        job = caller.ended(caller.newest_job()["id"], within_s=SOON_MS / 1000)
        assert job["state"] == "succeeded", job
    hook = {"url": "http://127.0.0.1:9/hook"}
    hooked = caller.post("webhooks", hook)
    assert hooked.status_code == 201, hooked.text
    yield context.cookies()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page(
    scheme: Literal["light", "dark"],
    screen: tuple[int, int],
    browser: Browser,
    system: System,
    cookies: Any,
    shots: Path | None,
) -> None:
    width, height = screen
    context = browser.new_context(
        base_url=system.base_url,
        viewport={"width": width, "height": height},
        is_mobile=screen == PHONE,
        has_touch=screen == PHONE,
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    kept = shots / f"{scheme}-{width}" if shots else None
    with watched(context, system) as page:
        sizes, wrong = walk(page, PUBLIC, kept)
        context.add_cookies(cookies)
        for_users, wrong_there = walk(page, ["/dashboard/", *MORE], kept)

    sizes |= for_users
    assert wrong + wrong_there == [], "\n".join(wrong + wrong_there)

    assert {"overview", "jobs", "job", "key", "webhooks", "month", "404"} <= sizes.keys()
    assert {"account_change_password", "mfa_activate_totp", "usersessions_list"} <= sizes.keys()
    assert {"docs-page", "models", "model", "pricing", "admin:jobs_job_change"} <= sizes.keys()
    largest = {name: LARGEST_OF_ADMIN if "admin:" in name else LARGEST for name in sizes}
    assert 0 not in {size for size, _ in sizes.values()}
    too_large = {name: size for name, size in sizes.items() if size[0] > largest[name]}
    assert too_large == {}, "(bytes, answers)"
    print("\npage, bytes without media, answers")
    for name, (size, answers) in sorted(sizes.items(), key=itemgetter(1), reverse=True):
        print(f"{name} {size} {answers}")


def walk(page: Page, start: list[str], shots: Path | None) -> tuple[Sizes, list[str]]:
    """Look at one page of each name, following links.

    Tells (bytes without media, answers) of each, and what is wrong with some.
    """
    sizes: Sizes = {}
    wrong: list[str] = []
    left = list(start)
    while left:
        path = left.pop(0)
        name = name_of(path)
        if name is None or name in sizes:
            continue
        sizes[name] = weighed(page, partial(page.goto, path))
        expect(page.locator("body")).to_be_visible()
        wrong += [f"{path}: {finding}" for finding in serious(page)]
        wrong += [f"{path} is wider than its screen"] * overflows(page)
        if shots is not None:
            page.screenshot(path=shots / f"{name.replace(':', '-')}.png", full_page=True)
        left += page.eval_on_selector_all(
            "a[href]:not([download]):not([target=_blank]):not([hx-get])",
            "(links) => links.map((link) => link.pathname + link.search)",
        )
    return sizes, wrong


def name_of(path: str) -> str | None:
    """What the page is called; None for what is none."""
    url = urlsplit(path)
    if url.path == NOTHING:
        return "404"
    try:
        match = resolve(url.path)
    except Resolver404:
        return None
    if match.view_name in ELSEWHERE or "format=csv" in url.query:
        return None
    if url.path.startswith(("/api/", "/outputs/", "/static/")) or not match.url_name:
        return None
    if match.view_name == "playground-model":
        name = match.kwargs["name"]
        return f"{match.view_name}-{name}" if name in TRIED else None
    return match.view_name
