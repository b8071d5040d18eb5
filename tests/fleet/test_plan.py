"""The fleet's plan, on facts alone."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from modelpilot.fleet.pieces import DeploymentFacts, DeviceFacts, PodFacts, Start, Stop
from modelpilot.fleet.plan import plan, starts_in

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE = DeviceFacts("here", "cpu", "cpu", 1000)


def deployment(name: str, **fields: Any) -> DeploymentFacts:
    facts = {
        "memory_mb": 400,
        "wanted": True,
        "waiting": 0,
        "idle_seconds": 60,
        "pinned": False,
        "load_seconds": 2.0,
        "run_seconds": 1.0,
    }
    return DeploymentFacts(name, **{**facts, **fields})


def pod(name: str, **fields: Any) -> PodFacts:
    facts = {
        "id": uuid.uuid4(),
        "deployment": name,
        "node": "here",
        "devices": ("cpu",),
        "memory_mb": 400,
        "busy": 0,
        "slots": 1,
        "draining": False,
        "active_at": NOW,
        "ready_at": NOW,
    }
    return PodFacts(**{**facts, **fields})


def test_nothing_runs_without_work() -> None:
    assert plan([NODE], [deployment("a")], [], NOW) == []


def test_work_starts_a_pod() -> None:
    assert plan([NODE], [deployment("a", waiting=1)], [], NOW) == [Start("a", "here", ("cpu",))]


def test_a_pinned_deployment_runs_without_work() -> None:
    assert plan([NODE], [deployment("a", pinned=True)], [], NOW) == [Start("a", "here", ("cpu",))]


def test_one_pod_is_enough() -> None:
    assert plan([NODE], [deployment("a", waiting=9)], [pod("a", ready_at=None)], NOW) == []


def test_a_stopped_deployment_loses_its_pod_even_when_busy() -> None:
    running = pod("a", busy=3)
    actions = plan([NODE], [deployment("a", wanted=False, waiting=1)], [running], NOW)
    assert actions == [Stop(running.id, "its deployment is stopped")]


def test_an_idle_pod_stops() -> None:
    idle = pod("a", active_at=NOW - timedelta(seconds=61))
    assert plan([NODE], [deployment("a")], [idle], NOW) == [Stop(idle.id, "idle for 60 s")]


def test_a_pod_that_loads_or_works_or_is_pinned_is_not_idle() -> None:
    old = NOW - timedelta(hours=1)
    for busy in (pod("a", active_at=old, busy=1), pod("a", active_at=old, ready_at=None)):
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
    assert plan([NODE], deployments, [other], NOW) == [Start("c", "here", ("cpu",))]


def test_a_busy_pod_is_never_evicted() -> None:
    pods = [pod("a", busy=1), pod("b", busy=1)]
    deployments = [deployment("a"), deployment("b"), deployment("c", waiting=1)]

    assert plan([NODE], deployments, pods, NOW) == []


def test_a_failed_load_is_not_tried_before_its_time() -> None:
    later = deployment("a", waiting=1, retry_at=NOW + timedelta(seconds=1))
    assert plan([NODE], [later], [], NOW) == []
    assert plan([NODE], [later], [], NOW + timedelta(seconds=2)) == [Start("a", "here", ("cpu",))]


def test_the_roomiest_device_is_chosen() -> None:
    devices = [gpu("0", 500), gpu("1", 5000)]
    wish = deployment("a", waiting=1, device="cuda")
    assert plan(devices, [wish], [], NOW) == [Start("a", "here", ("1",))]


def test_a_gpu_is_for_those_that_need_one() -> None:
    devices = [NODE, gpu("0", 400)]
    wishes = [deployment("a", waiting=1), deployment("b", waiting=1, device="cuda")]
    on_cpu, on_gpu = Start("a", "here", ("cpu",)), Start("b", "here", ("0",))
    assert plan(devices, wishes, [], NOW) == [on_cpu, on_gpu]
    assert plan([NODE], wishes, [], NOW) == [on_cpu]


def gpu(number: str, memory_mb: int) -> DeviceFacts:
    return DeviceFacts("here", number, "cuda", memory_mb)


# Pods that span several devices

WIDE = {"device": "cuda", "devices": 2, "memory_mb": 400}


def test_a_pod_that_spans_devices_gets_the_roomiest_of_one_node() -> None:
    devices = [gpu("0", 500), gpu("1", 900), gpu("2", 700), gpu("3", 300)]
    wish = deployment("a", waiting=1, **WIDE)
    assert plan(devices, [wish], [], NOW) == [Start("a", "here", ("1", "2"))]
    apart = [DeviceFacts("there", "4", "cuda", 900), gpu("0", 500), gpu("3", 300)]
    assert plan(apart, [wish], [], NOW) == []
    parts = [gpu("0", 500), replace(gpu("1", 900), whole=False)]
    assert plan(parts, [wish], [], NOW) == []


def test_it_counts_on_each_of_them() -> None:
    devices = [gpu("0", 500), gpu("1", 500)]
    running = pod("a", devices=("0", "1"), busy=1)
    for memory_mb, starts in ((100, [Start("b", "here", ("1",))]), (101, [])):
        wishes = [
            deployment("a", **WIDE),
            deployment("b", waiting=1, device="cuda", memory_mb=memory_mb),
        ]
        assert plan(devices, wishes, [running], NOW) == starts


def test_it_evicts_on_each_and_no_more_than_it_must() -> None:
    devices = [gpu("0", 500), gpu("1", 500), gpu("2", 500)]
    left, right = pod("x", devices=("0",)), pod("y", devices=("1",))
    resident = pod("z", devices=("2",), busy=1)
    wishes = [*map(deployment, "xyz"), deployment("a", waiting=1, **WIDE)]
    stops = {Stop(left.id, "room for a"), Stop(right.id, "room for a")}
    assert set(plan(devices, wishes, [left, right, resident], NOW)) == stops
    # One that sits on both makes room on both.
    both = pod("x", devices=("0", "1"))
    assert plan(devices, wishes, [both, resident], NOW) == [Stop(both.id, "room for a")]


def test_nobody_moves_in_on_any_of_the_devices_that_it_waits_for() -> None:
    devices = [gpu("0", 500), gpu("1", 500)]
    draining = pod("x", devices=("0",), draining=True)
    for memory_mb, starts in ((100, [Start("b", "here", ("1",))]), (101, [])):
        wishes = [
            deployment("a", waiting=1, waited_s=9, **WIDE),
            deployment("b", waiting=1, device="cuda", memory_mb=memory_mb),
        ]
        assert plan(devices, wishes, [draining], NOW) == starts


def test_a_pod_that_spans_devices_goes_as_a_whole() -> None:
    devices = [gpu("0", 500), gpu("1", 500)]
    wide = pod("a", devices=("0", "1"))
    wishes = [deployment("a", **WIDE), deployment("b", waiting=1, device="cuda", memory_mb=200)]
    assert plan(devices, wishes, [wide], NOW) == [Stop(wide.id, "room for b")]
    assert plan(devices, wishes, [replace(wide, draining=True)], NOW) == []
    assert plan(devices, wishes, [], NOW) == [Start("b", "here", ("1",))]


def test_pinned_ones_on_too_many_devices_keep_it_out() -> None:
    devices = [gpu("0", 500), gpu("1", 500), gpu("2", 500)]
    pods = [pod("x", devices=("0",)), pod("y", devices=("1",))]
    wishes = [deployment("x", pinned=True), deployment("y"), deployment("a", waiting=1, **WIDE)]
    assert plan(devices, wishes, pods, NOW) == [Stop(pods[1].id, "room for a")]
    assert starts_in(devices, wishes, pods, NOW, "a") == (0, True)
    wishes[1] = replace(wishes[1], pinned=True)
    assert plan(devices, wishes, pods, NOW) == []
    assert starts_in(devices, wishes, pods, NOW, "a") is None


# Two always busy models that do not fit together

BIG = {"memory_mb": 900, "load_seconds": 2.0}


def busy(since_s: float, **fields: Any) -> PodFacts:
    return pod("a", memory_mb=900, busy=1, ready_at=NOW - timedelta(seconds=since_s), **fields)


def rivals(waited_s: float, **fields: Any) -> list[DeploymentFacts]:
    return [
        deployment("a", waiting=5, waited_s=1, **BIG, **fields),
        deployment("b", waiting=5, waited_s=waited_s, **BIG),
    ]


def test_a_busy_pod_makes_way_for_one_that_has_waited_long() -> None:
    running = busy(since_s=60)
    assert plan([NODE], rivals(waited_s=11.9), [running], NOW) == []
    assert plan([NODE], rivals(waited_s=12.1), [running], NOW) == [Stop(running.id, "room for b")]


def test_but_not_before_it_has_served_a_while() -> None:
    young, older = busy(since_s=9), busy(since_s=11)
    assert plan([NODE], rivals(waited_s=300), [young], NOW) == []
    assert plan([NODE], rivals(waited_s=300), [older], NOW) == [Stop(older.id, "room for b")]


def test_and_never_when_it_is_pinned() -> None:
    assert plan([NODE], rivals(waited_s=300, pinned=True), [busy(since_s=60)], NOW) == []


def test_who_loads_long_serves_and_is_waited_for_longer() -> None:
    slow = {"memory_mb": 900, "load_seconds": 20.0}
    wishes = [deployment("a", waiting=1, **slow), deployment("b", waiting=1, waited_s=90, **slow)]
    assert plan([NODE], wishes, [busy(since_s=59)], NOW) == []
    wishes[1] = deployment("b", waiting=1, waited_s=119, **slow)
    assert plan([NODE], wishes, [busy(since_s=300)], NOW) == []
    wishes[1] = deployment("b", waiting=1, waited_s=121, **slow)
    assert len(plan([NODE], wishes, [busy(since_s=61)], NOW)) == 1


def test_nobody_moves_in_where_somebody_waits_for_the_last_pod_to_go() -> None:
    draining = busy(since_s=60, draining=True)
    wishes = [*rivals(waited_s=300), deployment("c", memory_mb=100, waiting=1)]
    # 100 MB are free, but b needs 900 of the 1000; beside b, c fits.
    assert plan([NODE], wishes, [draining], NOW) == [Start("c", "here", ("cpu",))]
    wishes[2] = deployment("c", memory_mb=101, waiting=1)
    assert plan([NODE], wishes, [draining], NOW) == []


def test_nobody_moves_in_where_only_tenure_keeps_somebody_waiting() -> None:
    pods = [
        pod("a", busy=1, ready_at=NOW - timedelta(seconds=60)),
        pod("b", busy=1, ready_at=NOW - timedelta(seconds=5)),
    ]
    wishes = [
        deployment("a", waiting=1),
        deployment("b", waiting=1),
        deployment("c", waiting=1, waited_s=300, memory_mb=1000),
        deployment("d", waiting=1, waited_s=1, memory_mb=200),
    ]
    assert plan([NODE], wishes, pods, NOW) == []
    assert len(plan([NODE], wishes, pods, NOW + timedelta(seconds=5))) == 2
    # While c is patient still, d may use what is free.
    wishes[2] = deployment("c", waiting=1, waited_s=5, memory_mb=1000)
    assert plan([NODE], wishes, pods, NOW) == [Start("d", "here", ("cpu",))]


# Copies


def test_a_second_copy_starts_when_the_queue_is_longer_than_its_load() -> None:
    running = pod("a", busy=1)
    for waiting, starts in ((2, []), (3, [Start("a", "here", ("cpu",))])):
        wish = deployment("a", waiting=waiting, replicas=2)
        assert plan([NODE], [wish], [running], NOW) == starts
    assert plan([NODE], [deployment("a", waiting=9)], [running], NOW) == []


def test_a_copy_evicts_nobody() -> None:
    pods = [pod("a", busy=1), pod("b", active_at=NOW - timedelta(seconds=50))]
    wishes = [deployment("a", waiting=9, replicas=2), deployment("b")]
    assert plan([NODE], wishes, pods, NOW) == []


def test_copies_go_to_devices_without_one() -> None:
    devices = [gpu("0", 1000), gpu("1", 500)]
    wish = deployment("a", waiting=9, replicas=2, device="cuda")
    running = pod("a", busy=1, devices=("0",))
    assert plan(devices, [wish], [running], NOW) == [Start("a", "here", ("1",))]


def test_what_is_beyond_replicas_goes_and_idle_ones_first() -> None:
    working, idle = pod("a", busy=1), pod("a")
    wish = deployment("a", waiting=1, replicas=1)
    assert plan([NODE], [wish], [working, idle], NOW) == [Stop(idle.id, "more than 1 of it")]


def test_the_last_pod_of_a_pinned_deployment_stays() -> None:
    old = NOW - timedelta(hours=1)
    pods = [pod("a", active_at=old), pod("a", active_at=old + timedelta(seconds=1))]
    wish = deployment("a", pinned=True, replicas=2)
    assert plan([NODE], [wish], pods, NOW) == [Stop(pods[0].id, "idle for 60 s")]


# Guesses


def test_when_a_pod_could_start() -> None:
    def guess(*pods: PodFacts, waited_s: float = 0, **fields: Any) -> tuple[float, bool] | None:
        wishes = [deployment("a", **BIG, **fields), deployment("b", waited_s=waited_s, **BIG)]
        return starts_in([NODE], wishes, pods, NOW, "b")

    assert guess() == (0, False)
    assert guess(pod("a", memory_mb=900)) == (0, True)
    # Half a run is left.
    assert guess(busy(since_s=60)) == (0.5, True)
    # 100 runs would take longer than b's patience of 12 s and the last run.
    assert guess(busy(since_s=60), waiting=100) == (13, True)
    assert guess(busy(since_s=60), waiting=100, waited_s=10) == (3, True)
    assert guess(busy(since_s=60), pinned=True) is None
