"""What a page costs who waits for it: bytes and answers over the wire."""

from collections.abc import Callable

from playwright.sync_api import Page, Response

# Pictures, films and sounds are what a page is looked at for; drawings that it is made of are not.
MEDIA = ("image", "media")
# Has no end, and so no size.
ENDLESS = "eventsource"


def without_cache(page: Page) -> None:
    """Let every page from now on weigh what it does for somebody who comes for the first time."""
    page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})


def weighed(page: Page, load: Callable[[], object]) -> tuple[int, int]:
    """Bytes without media, and how many answers, of what `load` loads."""
    answers: list[Response] = []

    def on_response(answer: Response) -> None:
        answers.append(answer)

    page.on("response", on_response)
    load()
    page.wait_for_load_state("load")
    page.remove_listener("response", on_response)
    # Not while they come: a size is known once all of an answer is there.
    sizes = [size_of(answer) for answer in answers if counts(answer)]
    return sum(sizes), len(sizes)


def counts(answer: Response) -> bool:
    kind = answer.request.resource_type
    return kind != ENDLESS and (kind not in MEDIA or ".svg" in answer.url)


def size_of(answer: Response) -> int:
    # What the browser had already is less than nothing.
    return max(0, answer.request.sizes()["responseBodySize"])
