"""The page of deployments: every model of the catalog, and what sits on which device."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from modelpilot.accounts.models import User
from modelpilot.fleet import prices, stock
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.machine import Device
from modelpilot.fleet.models import Deployment, Node, Pod
from modelpilot.fleet.stock import Weights
from tests.cast import submitted
from tests.dashboard.conftest import SignedIn
from tests.dashboard.test_shell import assert_strict

PAGE, LIVE = "/dashboard/deployments/", "/dashboard/deployments/live"


@pytest.fixture
def node(books: None) -> Node:
    """A machine of 10 GB, of which pods may have 8."""
    cpu = Device("cpu", "cpu", "Fast CPU", 10_000, 8_000, 9_000)
    return Node.objects.create(
        name="basement", devices=[cpu.as_json()], heartbeat_at=timezone.now()
    )


@pytest.fixture
def served(node: Node) -> Deployment:
    """A deployment with a pod that is ready."""
    deployment = Deployment.objects.create(
        model="smollm2-135m", load_seconds=2.0, run_seconds=0.5, recent_runs=[0.5, 0.25, 1.0]
    )
    Pod.objects.create(
        deployment=deployment, node=node, phase="ready", memory_mb=2_000, slots=8,
        ready_at=timezone.now(),
    )  # fmt: skip
    return deployment


def text(client: Client, path: str = PAGE) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def tile(page: str, model: str) -> str:
    """The card of one model."""
    return page.partition(f'aria-label="{model}"')[2].partition("</article>")[0]


def test_a_deployer_sees_every_card_of_the_catalog(
    signed_in: SignedIn, bob: User, served: Deployment
) -> None:
    page = text(signed_in(bob))

    for card in cards().cards.values():
        assert tile(page, card.id), card.id
    shown = tile(page, "smollm2-135m")
    assert "ready" in shown
    assert "On this machine" in shown
    assert "p50 500 ms, p90 900 ms" in shown
    assert "1 of 1" in shown
    assert f'data-api="POST deployments/{served.id}/stop"' in shown
    assert "data-ask=" in shown
    assert 'value="qwen3-8b"' in tile(page, "qwen3-8b"), "it can be deployed"
    assert "needs an NVIDIA GPU" in tile(page, "flux-dev")
    assert "<button" not in tile(page, "flux-dev")


def test_devices_are_drawn_by_what_sits_on_them(
    signed_in: SignedIn, bob: User, served: Deployment
) -> None:
    page = text(signed_in(bob), LIVE)

    assert "Fast CPU" in page
    assert "<b>2.0\xa0GB</b>" in page
    assert 'x="0" y="0" width="250"' in page, "2 of 8 GB"
    assert "<html" not in page, "only what changes"


def test_a_pod_on_two_devices_is_drawn_on_both(signed_in: SignedIn, bob: User, node: Node) -> None:
    gpus = [Device(f"GPU-{name}", "cuda", f"GPU {name}", 10_000, 8_000, 9_000) for name in "ab"]
    Node.objects.filter(name=node.name).update(devices=[gpu.as_json() for gpu in gpus])
    deployment = Deployment.objects.create(model="qwen3-8b", devices=2)
    Pod.objects.create(
        deployment=deployment, node=node, phase="ready", memory_mb=4_000, slots=8,
        devices=["GPU-a", "GPU-b"], ready_at=timezone.now(),
    )  # fmt: skip
    page = text(signed_in(bob), LIVE)
    devices = page.partition('class="devices"')[2].partition("</section>")[0]
    assert devices.count('x="0" y="0" width="500"') == devices.count("qwen3-8b</span>") == 2
    assert "GPU a" in devices
    assert "1 pod," in page, "and it is one"


def test_without_a_node_the_page_says_what_to_do(signed_in: SignedIn, bob: User) -> None:
    assert "No node is alive" in text(signed_in(bob))


def test_what_waits_fails_downloads_and_costs_is_told(
    signed_in: SignedIn, bob: User, alice: User, served: Deployment
) -> None:
    for _ in range(2):
        submitted(alice, model="smollm2-135m", deployment=served.id)
    Deployment.objects.create(model="kokoro", error="It could not be loaded.", failures=1)
    coming = Deployment.objects.create(model="piper-joe", pinned=True)
    Pod.objects.create(
        deployment=coming, node_id="basement", phase="downloading", progress=0.25, memory_mb=1
    )
    Deployment.objects.create(model="emoji-64", desired="stopped")
    Deployment.objects.create(model="gone-model")
    prices.change(cards().cards["piper-joe"], {"request": 5_000}, reason="dearer")

    page = text(signed_in(bob))

    assert "2 waiting" in tile(page, "smollm2-135m")
    assert "It could not be loaded." in tile(page, "kokoro")
    assert "25% downloaded" in tile(page, "piper-joe")
    assert "$0.005" in tile(page, "piper-joe")
    assert "pinned" in tile(page, "piper-joe")
    assert ">Start<" in tile(page, "emoji-64")
    assert "The catalog has no such model any more" in page


@pytest.mark.parametrize("path", [PAGE, LIVE])
def test_only_deployers_may_look(
    signed_in: SignedIn, visitor: Client, alice: User, charlie: User, path: str
) -> None:
    assert visitor.get(path).status_code == 302
    for user in (alice, charlie):
        assert signed_in(user).get(path).status_code == 403
    User.objects.filter(id=alice.id).update(can_deploy=True)
    assert signed_in(User.objects.get(id=alice.id)).get(path).status_code == 200


def test_the_page_is_strict_and_cheap(signed_in: SignedIn, bob: User, served: Deployment) -> None:
    client = signed_in(bob)
    assert_strict(client.get(PAGE))

    for path in (PAGE, LIVE):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(path)
        assert len(queries) <= 12, [query["sql"] for query in queries]


def test_where_weights_are(tmp_path: Any, settings: Any) -> None:
    settings.MODELS, settings.CACHE = tmp_path / "models", tmp_path / "cache"

    def where(model: str) -> Weights:
        return stock.whereabouts(cards().cards[model])[0]

    assert where("emoji-64") == Weights.HERE
    assert where("flux-dev") == Weights.HUB
    # Its voice is a file that only the operator can bring.
    assert where("chatterbox") == Weights.MISSING
    assert stock.whereabouts(cards().cards["chatterbox"])[1]
