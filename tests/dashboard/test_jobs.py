"""The list of jobs and the page of each."""

import re
import time
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from inference.types import File
from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User
from modelpilot.dashboard import media
from modelpilot.jobs import listing, storage
from modelpilot.jobs.listing import SESSION, Choice
from modelpilot.jobs.models import Job
from tests.cast import submitted
from tests.dashboard.conftest import SignedIn
from tests.dashboard.jobs import ended, said

PNG = File("output.png", "image/png", b"\x89PNG")
POSTER = File("output.jpeg", "image/jpeg", b"\xff\xd8")
FILM = File("output.mp4", "video/mp4", b"mp4")
SPEECH = File("speech.mp3", "audio/mpeg", b"mp3")


@pytest.fixture(autouse=True)
def kept(settings: Settings, tmp_path: object) -> None:
    """Outputs go into a folder of the test's."""
    storages = {**settings.STORAGES}
    default = {**storages["default"], "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = {**storages, "default": default}


def page(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def asked(prompt: str) -> dict[str, Any]:
    return {"request": {"messages": [{"role": "user", "content": prompt}]}}


def test_the_list_shows_what_was_asked_and_made(signed_in: SignedIn, alice: User) -> None:
    ended(alice, files=(PNG,), kind="image", request={"prompt": "a red apple"})
    ended(alice, files=(SPEECH,), kind="audio", request={"text": "Hello <b>you</b>"})
    ended(alice, state=Job.State.FAILED, **asked("too long"))
    submitted(alice, **asked("still waits"))

    shown = page(signed_in(alice), "/dashboard/jobs/")

    assert "a red apple" in shown
    assert "Hello &lt;b&gt;you&lt;/b&gt;" in shown
    assert '<img src="/outputs/' in shown
    assert "<audio controls" in shown
    assert "context_length_exceeded" in shown
    # Only the one that has not ended asks for itself again.
    assert shown.count('hx-trigger="load delay:2s"') == 1


def test_filters_choose(alice: User) -> None:
    keys.create(alice)
    key = ApiKey.objects.get()
    waits = submitted(alice, key=key.id)
    failed = ended(alice, model="other", state=Job.State.FAILED)
    drawn = ended(alice, model="drawer", kind="image", request={"prompt": "x"})

    def ids(choice: Choice | None = None) -> list[uuid.UUID]:
        return [job.id for job in listing.page(alice.id, choice).jobs]

    assert ids() == [drawn.id, failed.id, waits.id]
    assert ids(Choice(kind="image")) == [drawn.id]
    assert ids(Choice(model="other")) == [failed.id]
    assert ids(Choice(state="queued")) == [waits.id]
    assert ids(Choice(key=key.id)) == [waits.id]
    assert ids(Choice(key=SESSION)) == [drawn.id, failed.id]
    assert ids(Choice(kind="image", state="failed")) == []


def test_pages_are_whole_and_without_repetition(alice: User) -> None:
    every = [submitted(alice, price=0).id for _ in range(7)][::-1]

    found, before, pages = [], listing.NEWEST, 0
    while True:
        part = listing.page(alice.id, before=before, limit=3)
        found += [job.id for job in part.jobs]
        pages += 1
        if part.older is None:
            break
        before = part.older

    assert found == every
    assert pages == 3


def test_a_rare_choice_is_looked_for_in_parts(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    rare = submitted(alice, price=0, model="rare")
    for _ in range(8):
        submitted(alice, price=0)
    monkeypatch.setattr(listing, "SEEN", 3)

    before, pages = listing.NEWEST, []
    while True:
        pages.append(listing.page(alice.id, Choice(model="rare"), before))
        if pages[-1].older is None or len(pages) > 9:
            break
        before = pages[-1].older

    assert [[job.id for job in page.jobs] for page in pages] == [[], [], [rare.id], []]
    assert [page.searched for page in pages] == [True, True, True, False]


@pytest.mark.parametrize(
    "query", ["key=x", "key=99999999999999999999", "state=%FF", "kind=no", "before=x"]
)
def test_a_query_that_means_nothing_shows_all(signed_in: SignedIn, alice: User, query: str) -> None:
    job = submitted(alice)
    assert str(job.id) in page(signed_in(alice), f"/dashboard/jobs/?{query}")


def test_the_page_of_a_chat(signed_in: SignedIn, alice: User) -> None:
    job = ended(alice, result=said("<script>alert(1)</script>"), **asked("<i>hello</i>"))
    client = signed_in(alice)
    shown = page(client, f"/dashboard/jobs/{job.id}/")

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>alert" not in shown
    assert "&lt;i&gt;hello&lt;/i&gt;" in shown
    assert "$0.01" in shown
    assert "Queued" in shown
    assert f"POST jobs/{job.id}/replay" in shown
    assert "/cancel" not in shown
    assert "data-events" not in shown
    # Under any spelling of its id, as in the API.
    assert client.get(f"/dashboard/jobs/chatcmpl-{job.id.hex}/").status_code == 200


def test_the_page_of_a_film_has_its_poster(signed_in: SignedIn, alice: User) -> None:
    job = ended(alice, kind="video", request={"prompt": "a balloon"}, files=(FILM, POSTER))
    shown = page(signed_in(alice), f"/dashboard/jobs/{job.id}/")

    assert shown.count("<video ") == 1
    assert 'poster="/outputs/' in shown
    assert "<img " not in shown


def test_a_failed_job_says_what_to_do(signed_in: SignedIn, alice: User) -> None:
    job = ended(alice, state=Job.State.FAILED)
    shown = page(signed_in(alice), f"/dashboard/jobs/{job.id}/")

    assert "The prompt is too long. Shorten the messages." in shown
    assert "nothing was charged" in shown


def test_a_running_job_is_followed(signed_in: SignedIn, alice: User) -> None:
    job = submitted(alice)
    shown = page(signed_in(alice), f"/dashboard/jobs/{job.id}/")

    assert f'data-events="/api/v1/jobs/{job.id}/events"' in shown
    assert f"POST jobs/{job.id}/cancel" in shown
    assert "DELETE" not in shown


def test_deleted_content_is_gone(signed_in: SignedIn, alice: User) -> None:
    job = ended(alice, result=said("A secret."), files=(PNG,), **asked("My secret"))
    storage.delete_content(job)
    client = signed_in(alice)
    shown = page(client, f"/dashboard/jobs/{job.id}/")

    assert "secret" not in shown
    assert "The content is deleted" in shown
    assert "replay" not in shown
    assert client.get(f"/dashboard/jobs/{job.id}/as/curl").status_code == 404


def test_a_list_asks_the_database_as_often_however_long_it_is(
    signed_in: SignedIn, alice: User
) -> None:
    client = signed_in(alice)
    for number in range(listing.PAGE + 2):
        submitted(alice, price=0, **asked(f"Question {number}"))
    counts = []
    for path in ("/dashboard/jobs/", "/dashboard/"):
        with CaptureQueriesContext(connection) as queries:
            page(client, path)
        counts.append(len(queries))

    assert max(counts) <= 12, counts


def test_a_link_stays_the_same_for_a_while_and_works(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    (output,) = ended(alice, files=(PNG,), kind="image", request={"prompt": "x"}).outputs.all()

    def link_at(moment: float) -> str:
        monkeypatch.setattr(time, "time", lambda: moment)
        return media.link(output)

    assert link_at(1_800_000_000.5) == link_at(1_800_000_299.5) != link_at(1_800_000_300.5)
    last = link_at(1_800_000_299.5)
    found = re.fullmatch(r"/outputs/[0-9a-f-]+\?expires=(\d+)&signature=(\w+)", last)
    assert found is not None
    assert int(found[1]) >= 1_800_000_299 + 600
    assert storage.signature_holds(output.id, found[1], found[2])
