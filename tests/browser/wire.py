"""What a page costs who waits for it: bytes and answers over the wire, with an empty cache."""

from collections.abc import Callable

from playwright.sync_api import Page

# As they came over the wire, whether this time or, for a cache, before. Pictures, films and sounds
# are what a page is looked at for; drawings that it is made of are not.
SIZES = """() => [
  ...performance.getEntriesByType("navigation"),
  ...performance.getEntriesByType("resource").filter((each) =>
    each.name.startsWith(location.origin)
    && (each.name.includes(".svg")
      || !["img", "image", "video", "audio"].includes(each.initiatorType))),
].map((each) => each.encodedBodySize)"""


def weighed(page: Page, load: Callable[[], object]) -> tuple[int, int]:
    """Bytes without media, and how many answers, of what `load` loads."""
    load()
    page.wait_for_load_state("load")
    sizes = page.evaluate(SIZES)
    return sum(sizes), len(sizes)
