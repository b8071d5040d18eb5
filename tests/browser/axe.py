"""What axe-core finds wrong on a page for people who don't see, hear or click as others do."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# Colours on their way from light to dark are neither.
SETTLED = """Promise.all(document.getAnimations()
  .filter((animation) => animation instanceof CSSTransition)
  .map((animation) => animation.finished.catch(() => null)))"""


def serious(page: Page) -> list[str]:
    """Each serious or critical finding: its rule, its help, and what it is about."""
    page.evaluate(f"async () => {{ await {SETTLED} }}")
    found = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:150]}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def overflows(page: Page) -> bool:
    """Whether the page is wider than its screen (a phone zooms out then, and its window grows)."""
    return bool(
        page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    )
