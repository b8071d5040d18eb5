"""What a page costs who waits for it: bytes and answers over the wire, with an empty cache."""

from collections.abc import Callable

from playwright.sync_api import Page, Response

# Pictures, films and sounds are what a page is looked at for; drawings that it is made of are not.
MEDIA = ("image", "media")


def weighed(page: Page, load: Callable[[], object]) -> tuple[int, int]:
    """Bytes without media, and how many answers, of what `load` loads."""
    sizes: list[int] = []

    def on_response(response: Response) -> None:
        request = response.request
        if request.resource_type not in MEDIA or ".svg" in request.url:
            # What the browser had already is less than nothing.
            sizes.append(max(0, request.sizes()["responseBodySize"]))

    page.on("response", on_response)
    load()
    page.wait_for_load_state("load")
    page.remove_listener("response", on_response)
    return sum(sizes), len(sizes)
