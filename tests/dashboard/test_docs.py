"""The API guide: every page, for its reader, and complete."""

import re

import pytest
from django.conf import settings
from django.test import Client

from modelpilot.accounts import keys
from modelpilot.accounts.models import User
from modelpilot.dashboard import guide
from modelpilot.fleet.models import Deployment
from tests.dashboard.conftest import SignedIn
from tests.dashboard.test_shell import assert_strict

NAMES = [page.name for _, pages in guide.contents() for page in pages]


@pytest.mark.parametrize("name", NAMES)
def test_each_page_is_strict_and_its_links_lead_somewhere(visitor: Client, name: str) -> None:
    answer = visitor.get(f"/docs/{name}")
    assert answer.status_code == 200
    # Tabs begin with the first, and the page knows no style of its own.
    assert_strict(answer)
    text = answer.content.decode()
    assert not guide.WORD.search(text.replace("mp_live_YOUR_KEY", ""))
    for link in re.findall(r'href="([a-z]+)(?:#([a-z-]+))?"', text):
        page = guide.page(link[0])
        assert not link[1] or link[1] in dict(page.sections), link
    for anchor in re.findall(r'href="#([a-z0-9-]+)"', text):
        assert f'id="{anchor}"' in text


def test_every_file_is_in_the_contents() -> None:
    assert sorted(path.stem for path in guide.FOLDER.glob("*.md")) == sorted(NAMES)


def test_samples_have_the_readers_key_and_our_models(
    signed_in: SignedIn, visitor: Client, alice: User
) -> None:
    assert "mp_live_YOUR_KEY" in visitor.get("/docs/").content.decode()
    text = keys.create(alice, name="mine")
    Deployment.objects.create(model="deepseek-r1")
    page = signed_in(alice).get("/docs/chat").content.decode()

    assert f"mp_live_…{text[-4:]}" in page
    assert text not in page
    assert "deepseek-r1" in page
    assert "smollm2-135m" not in page


def test_what_is_no_page_is_not_found(visitor: Client) -> None:
    assert visitor.get("/docs/nothing").status_code == 404


def test_every_code_of_an_error_is_explained() -> None:
    table = (guide.FOLDER / "errors.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", table))
    source = "\n".join(
        path.read_text() for path in (settings.BASE_DIR / "modelpilot").rglob("*.py")
    )
    raised = set(re.findall(r"ApiError\(\s*\d{3},\s*\"([a-z_]+)\"", source))
    # And those of jobs, which wait for their answer in a row.
    raised |= set(re.findall(r"\"code\": \"([a-z_]+)\"", source))
    # Of Stripe alone.
    raised -= {"invalid_webhook"}
    assert raised
    assert raised - named == set()
