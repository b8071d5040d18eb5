"""The playground's pages: a form for each model that is served, made from its card."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from modelpilot.accounts.models import User
from modelpilot.api.quote import ROUTES
from modelpilot.dashboard import playground
from modelpilot.dashboard.fields import fields_of, main_field
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.machine import CPU, Device
from modelpilot.fleet.models import Deployment, Node, Pod
from modelpilot.jobs import lease
from modelpilot.jobs.models import Job
from tests.cast import PRICE, pod_id, submitted
from tests.dashboard.conftest import SignedIn

PAGES = "/dashboard/playground/"
EACH_KIND = [
    "smollm2-135m",
    "emoji-64",
    "piper-joe",
    "emoji-64-video",
    "pocketsphinx",
    "all-minilm-l6-v2",
]
GB = 1024


@pytest.fixture
def deployed() -> Callable[..., Deployment]:
    def deploy(model: str, **fields: Any) -> Deployment:
        return Deployment.objects.create(model=model, **fields)

    return deploy


@pytest.fixture
def machine(books: None) -> Node:
    cpu = Device(CPU, "cpu", "CPU", 8 * GB, 6 * GB, 6 * GB)
    return Node.objects.create(name="here", devices=[cpu.as_json()])


def drawn(owner: User, model: str, prompt: str) -> Job:
    """A picture that was asked for, drawn and paid."""
    request = {"prompt": prompt, "seed": 7, "width": 512, "height": 512, "n": 1}
    job = submitted(owner, kind="image", model=model, route="generate/image", request=request)
    (claim,) = lease.claim(model, pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE, result={"images": []})
    job.outputs.create(
        name="image.png", media_type="image/png", bytes=1, path=f"{job.id}/image.png"
    )
    return job


def about(page: bytes) -> Any:
    """What the page tells its script."""
    found = re.search(
        rb'<script id="about" type="application/json">(.*?)</script>', page, re.DOTALL
    )
    assert found is not None
    return json.loads(found[1])


def test_only_what_is_served_can_be_tried(
    signed_in: SignedIn, alice: User, deployed: Callable[..., Deployment]
) -> None:
    client = signed_in(alice)
    assert b"No model is deployed" in client.get(PAGES).content

    deployed("emoji-64")
    deployed("smollm2-135m", desired=Deployment.Desired.STOPPED)
    deployed("gone-from-the-catalog")

    page = client.get(PAGES).content.decode()
    assert re.findall(rf'href="{PAGES}([^"/]+)/"', page) == ["emoji-64"]
    for model, status in (("emoji-64", 200), ("smollm2-135m", 404), ("nothing", 404)):
        assert client.get(f"{PAGES}{model}/").status_code == status


def test_it_says_whether_a_model_is_warm(
    signed_in: SignedIn, alice: User, machine: Node, deployed: Callable[..., Deployment]
) -> None:
    deployment = deployed("emoji-64", load_seconds=11.9)
    client = signed_in(alice)
    assert b"cold, starts in 12 s" in client.get(PAGES).content

    Pod.objects.create(
        deployment=deployment, node=machine, phase=Pod.Phase.READY, memory_mb=700, slots=4
    )
    Pod.objects.update(ready_at=machine.heartbeat_at)
    assert b">warm<" in client.get(f"{PAGES}emoji-64/").content


@pytest.mark.parametrize("model", EACH_KIND)
def test_a_form_has_what_the_card_allows(
    signed_in: SignedIn, alice: User, deployed: Callable[..., Deployment], model: str
) -> None:
    deployed(model)
    page = signed_in(alice).get(f"{PAGES}{model}/").content.decode()
    card = cards().cards[model]

    assert f'name="{main_field(card).name}"' in page
    for name, bounds in card.parameters.items():
        shown = bounds.min < bounds.max
        assert (f'data-field="{name}"' in page) is shown, name
        if shown:
            assert f"{bounds.min} to {bounds.max}" in page
            assert re.search(rf'name="{name}"[^>]* data-default="{bounds.default}"', page)
    for voice in card.voices:
        assert f'value="{voice}"' in page
    assert "style=" not in page
    assert len(page) < 50_000


@pytest.mark.parametrize(
    "model", [card.id for card in cards().cards.values() if card.kind in playground.ROUTES]
)
def test_each_field_is_a_parameter_of_the_route(model: str) -> None:
    card = cards().cards[model]
    body, kind = ROUTES[playground.ROUTES[card.kind]]
    assert kind is card.kind
    known: Any = body
    for field in [main_field(card), *fields_of(card)]:
        assert field.name in known.model_fields, field.name


def test_a_picture_is_asked_for_only_where_it_can_be_used() -> None:
    names = {
        model: {field.name for field in fields_of(card)} for model, card in cards().cards.items()
    }

    assert {"image", "strength"} <= names["emoji-64"]
    assert "image" not in names["emoji-64-video"]
    assert "negative_prompt" in names["sdxl"]
    assert "negative_prompt" not in names["emoji-64"]


def test_each_sees_what_they_made_with_this_model(
    signed_in: SignedIn, alice: User, charlie: User, deployed: Callable[..., Deployment]
) -> None:
    deployed("emoji-64")
    deployed("emoji-64-video")
    wish = '</script><b>"a red apple"'
    job = drawn(alice, "emoji-64", wish)

    page = signed_in(alice).get(f"{PAGES}emoji-64/").content
    (line,) = about(page)["latest"]
    assert (line["id"], line["asked"], line["cost"]) == (str(job.id), wish, PRICE)
    assert line["outputs"][0]["url"].startswith("/outputs/")
    assert wish.encode() not in page
    assert escape(wish).encode() not in page

    hers = signed_in(alice).get(f"{PAGES}emoji-64-video/").content
    assert about(hers)["latest"] == [], "of another model"
    his = signed_in(charlie).get(f"{PAGES}emoji-64/").content
    assert about(his)["latest"] == []
    assert str(job.id).encode() not in his


def test_what_was_deleted_is_gone_and_a_long_wish_is_a_line(
    signed_in: SignedIn, alice: User, deployed: Callable[..., Deployment]
) -> None:
    deployed("emoji-64")
    drawn(alice, "emoji-64", "x" * 10_000)
    deleted = drawn(alice, "emoji-64", "a fox")
    Job.objects.filter(id=deleted.id).update(request={})

    (line,) = about(signed_in(alice).get(f"{PAGES}emoji-64/").content)["latest"]
    assert line["asked"] == "x" * 200


def test_a_page_asks_little(
    signed_in: SignedIn,
    alice: User,
    machine: Node,
    deployed: Callable[..., Deployment],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for model in EACH_KIND:
        deployed(model)
    drawn(alice, "emoji-64", "a fox")
    client = signed_in(alice)
    client.get(PAGES)

    # Beside these, five prepared statements, which Django does not count.
    with django_assert_max_num_queries(7):
        assert client.get(f"{PAGES}emoji-64/").status_code == 200
