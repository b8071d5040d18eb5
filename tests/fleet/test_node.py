"""What a node makes of pods that end, and of those that it does not know."""

import sys
from datetime import timedelta

import pytest
from django.utils import timezone

from modelpilot.fleet.models import Deployment, Node, Pod
from modelpilot.fleet.node import NodeRunner
from modelpilot.fleet.pod import DATABASE_AWAY
from modelpilot.fleet.supervise import Child

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(seconds=60)


def node(name: str, silent: timedelta = timedelta(0)) -> Node:
    return Node.objects.create(name=name, heartbeat_at=timezone.now() - silent)


def loading(deployment: Deployment, where: Node) -> Pod:
    """A pod that was heard of when it began to load, a minute ago."""
    return Pod.objects.create(
        deployment=deployment,
        node=where,
        memory_mb=1,
        phase=Pod.Phase.LOADING,
        heartbeat_at=timezone.now() - LONG_AGO,
    )


def test_only_pods_without_a_living_node_are_forgotten(books: None) -> None:
    deployment = Deployment.objects.create(model="echo")
    runner = NodeRunner()
    here, neighbour, dead = node(runner.name), node("neighbour"), node("dead", LONG_AGO)
    # Of an earlier node of this name, which is no more.
    stale = loading(deployment, here)
    neighbours, of_the_dead = loading(deployment, neighbour), loading(deployment, dead)

    runner.forget_strangers()

    assert list(Pod.objects.values_list("id", flat=True)) == [neighbours.id]
    assert {stale.id, of_the_dead.id}.isdisjoint(Pod.objects.values_list("id", flat=True))


@pytest.mark.parametrize(("status", "failures"), [(DATABASE_AWAY, 0), (1, 1)])
def test_a_pod_that_lost_its_database_says_nothing_about_its_model(
    books: None, status: int, failures: int
) -> None:
    deployment = Deployment.objects.create(model="echo")
    runner = NodeRunner()
    pod = loading(deployment, node(runner.name))
    child = Child("pod echo", [sys.executable, "-c", f"raise SystemExit({status})"])
    child.start()
    runner.children[pod.id] = child
    while child.poll() is None:
        pass

    runner.reap()

    deployment.refresh_from_db()
    assert deployment.failures == failures
    assert not Pod.objects.exists()
