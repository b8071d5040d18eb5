"""The fleet's plan, on facts alone."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from modelpilot.fleet.plan import DeploymentFacts, NodeFacts, PodFacts, Start, Stop, plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE = NodeFacts("here", 1000)


def deployment(name: str, **fields: Any) -> DeploymentFacts:
    facts = {"memory_mb": 400, "wanted": True, "waiting": 0, "idle_seconds": 60, "pinned": False}
    return DeploymentFacts(name, **{**facts, **fields})


def pod(name: str, **fields: Any) -> PodFacts:
    facts = {
        "id": uuid.uuid4(),
        "deployment": name,
        "node": "here",
        "memory_mb": 400,
        "busy": 0,
        "draining": False,
        "loading": False,
        "active_at": NOW,
    }
    return PodFacts(**{**facts, **fields})


def test_nothing_runs_without_work() -> None:
    assert plan([NODE], [deployment("a")], [], NOW) == []


def test_work_starts_a_pod() -> None:
    assert plan([NODE], [deployment("a", waiting=1)], [], NOW) == [Start("a", "here")]


def test_a_pinned_deployment_runs_without_work() -> None:
    assert plan([NODE], [deployment("a", pinned=True)], [], NOW) == [Start("a", "here")]


def test_one_pod_is_enough() -> None:
    assert plan([NODE], [deployment("a", waiting=9)], [pod("a", loading=True)], NOW) == []


def test_a_stopped_deployment_loses_its_pod_even_when_busy() -> None:
    running = pod("a", busy=3)
    actions = plan([NODE], [deployment("a", wanted=False, waiting=1)], [running], NOW)
    assert actions == [Stop(running.id, "its deployment is stopped")]


def test_an_idle_pod_stops() -> None:
    idle = pod("a", active_at=NOW - timedelta(seconds=61))
    assert plan([NODE], [deployment("a")], [idle], NOW) == [Stop(idle.id, "idle for 60 s")]


def test_a_pod_that_loads_or_works_or_is_pinned_is_not_idle() -> None:
    old = NOW - timedelta(hours=1)
    for busy in (pod("a", active_at=old, busy=1), pod("a", active_at=old, loading=True)):
        assert plan([NODE], [deployment("a")], [busy], NOW) == []
    assert plan([NODE], [deployment("a", pinned=True)], [pod("a", active_at=old)], NOW) == []


def test_the_least_recently_used_pod_makes_room() -> None:
    older = pod("a", active_at=NOW - timedelta(seconds=20))
    newer = pod("b", active_at=NOW - timedelta(seconds=10))
    deployments = [deployment("a"), deployment("b"), deployment("c", waiting=1)]

    assert plan([NODE], deployments, [older, newer], NOW) == [Stop(older.id, "room for c")]


def test_the_start_waits_until_the_room_is_free() -> None:
    draining = pod("a", draining=True)
    other = pod("b")
    deployments = [deployment("a"), deployment("b"), deployment("c", waiting=1)]

    assert plan([NODE], deployments, [draining, other], NOW) == []
    assert plan([NODE], deployments, [other], NOW) == [Start("c", "here")]


def test_a_busy_pod_is_never_evicted() -> None:
    pods = [pod("a", busy=1), pod("b", busy=1)]
    deployments = [deployment("a"), deployment("b"), deployment("c", waiting=1)]

    assert plan([NODE], deployments, pods, NOW) == []


def test_a_failed_load_is_not_tried_before_its_time() -> None:
    later = deployment("a", waiting=1, retry_at=NOW + timedelta(seconds=1))
    assert plan([NODE], [later], [], NOW) == []
    assert plan([NODE], [later], [], NOW + timedelta(seconds=2)) == [Start("a", "here")]


def test_the_roomiest_node_is_chosen() -> None:
    nodes = [NodeFacts("small", 500), NodeFacts("big", 5000)]
    assert plan(nodes, [deployment("a", waiting=1)], [], NOW) == [Start("a", "big")]
