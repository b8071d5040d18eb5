"""What a pod's time costs: counted once, by day, and shared by the pods of one device."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F, Sum
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from modelpilot import settings as product_settings
from modelpilot.accounts.models import User
from modelpilot.api import metrics
from modelpilot.fleet import economics
from modelpilot.fleet.machine import Device
from modelpilot.fleet.models import Deployment, Node, Pod, PodTime
from modelpilot.jobs import counters, lease
from modelpilot.jobs.models import Job
from tests.cast import at_once, pod_id, submitted
from tests.leftovers import eventually

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def nodes(books: None, settings: Settings) -> None:
    settings.DEVICE_HOUR_COST = {"cpu": 0.06, "nvidia h200": 3.6, "gpu": 1.2}
    devices = [
        Device("cpu", "cpu", "CPU", 2000, 1000, 2000),
        Device("GPU-1", "cuda", "NVIDIA H200", 140_000, 139_000, 139_000),
        Device("GPU-2", "cuda", "NVIDIA T4", 16_000, 15_000, 15_000),
    ]
    for name in ("here", "there"):
        Node.objects.create(name=name, devices=[device.as_json() for device in devices])


def pod(model: str, *devices: str, since: datetime = NOON, **fields: Any) -> Pod:
    deployment, _ = Deployment.objects.get_or_create(model=model)
    heard = {"heartbeat_at": since + HOUR, **fields}
    return Pod.objects.create(
        deployment=deployment, devices=devices or ["cpu"], memory_mb=1, counted_at=since,
        **{"node_id": "here", **heard},
    )  # fmt: skip


def times(**chosen: Any) -> tuple[float, float]:
    """Hours, and USD."""
    found = PodTime.objects.filter(**chosen).aggregate(
        hours=Sum("seconds", default=0) / 3600, usd=Sum("cost", default=0) / 1e6
    )
    return round(found["hours"], 6), round(found["usd"], 9)


def test_an_hour_of_a_device_costs_its_price() -> None:
    pod("echo")
    pod("flux-schnell", "GPU-1")
    pod("sdxl", "GPU-2")
    economics.count("here")
    assert times(model="echo", device="CPU", day=NOON.date()) == (1, 0.06)
    assert times(model="flux-schnell", device="NVIDIA H200") == (1, 3.6)
    assert times(model="sdxl", device="NVIDIA T4") == (1, 1.2)
    assert times() == (3, 4.86)


def test_time_is_counted_once() -> None:
    one = pod("echo")
    economics.count("here")
    economics.count("here")
    assert times() == (1, 0.06)
    Pod.objects.update(heartbeat_at=F("heartbeat_at") + HOUR)
    assert at_once(8, lambda _: economics.count("here")) == [None] * 8
    assert times() == (2, 0.12)
    economics.count("there")
    assert times() == (2, 0.12)
    assert at_once(8, lambda _: economics.count("here", [one.id], seen=False)) == [None] * 8
    assert times() == (2, 0.12)
    assert not Pod.objects.exists()


def test_who_comes_in_between_waits_and_counts_the_rest() -> None:
    pod("echo")
    with ThreadPoolExecutor(1) as thread, transaction.atomic():
        economics.count("here")
        thread.submit(at_once, 1, lambda _: economics.count("here"))
        # Until it stands at a lock, having seen the pod as it was before.
        eventually(lambda: waiting_statements() == 1, 10)
    assert times() == (1, 0.06)


def waiting_statements() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        ((found,),) = cursor.fetchall()
    return int(found)


def test_pods_of_one_device_share_its_hour() -> None:
    for model in ("echo", "echo", "kokoro"):
        pod(model)
    pod("piper-joe", node_id="there")
    economics.count("here")
    economics.count("there")
    assert times(model="echo") == (2, 0.04)
    assert times(model="kokoro") == (1, 0.02)
    assert times(model="piper-joe") == (1, 0.06)


def test_a_pod_on_several_devices_costs_the_hours_of_all() -> None:
    pod("deepseek-r1", "GPU-1", "GPU-2")
    pod("sdxl", "GPU-2")
    economics.count("here")
    assert times(model="deepseek-r1", device="NVIDIA H200") == (1, 3.6)
    assert times(model="deepseek-r1", device="NVIDIA T4") == (1, 0.6)
    assert times(model="sdxl") == (1, 0.6)
    economics.count("here")
    assert times() == (3, 4.8)


def test_midnight_parts_the_days() -> None:
    pod("echo", since=NOON.replace(hour=23, minute=15), heartbeat_at=NOON + timedelta(days=2))
    economics.count("here")
    assert times(day=date(2026, 11, 10)) == (0.75, 0.045)
    assert times(day=date(2026, 11, 11)) == (24, 1.44)
    assert times(day=date(2026, 11, 12)) == (12, 0.72)


def test_a_pod_that_has_gone_is_counted_to_its_end() -> None:
    started = timezone.now() - HOUR
    loading = pod("echo", since=started, heartbeat_at=started)
    economics.count("here")
    assert times() == (0, 0)
    # Its node saw it die while it loaded.
    economics.count("here", [loading.id])
    hours, _ = times()
    assert hours == pytest.approx(1, abs=0.01)
    # This one was lost with its machine, and nobody knows more than when it was last heard of.
    lost = pod("kokoro", since=started, heartbeat_at=started + HOUR / 2)
    economics.count("here", [lost.id], seen=False)
    assert times(model="kokoro") == (0.5, 0.03)
    assert not Pod.objects.exists()


def test_a_device_without_a_price_costs_nothing(settings: Settings) -> None:
    settings.DEVICE_HOUR_COST = {"nvidia h200": 1.0}
    pod("echo")
    pod("sdxl", "GPU-2")
    pod("flux-schnell", "GPU-gone")
    economics.count("here")
    assert times() == (3, 0)
    assert times(device="GPU-gone") == (1, 0)


def test_the_rows_put_revenue_beside_cost(alice: User) -> None:
    now = timezone.now()
    pod("echo", since=now - timedelta(minutes=1), heartbeat_at=now)
    pod("kokoro", since=now - timedelta(days=40), heartbeat_at=now - timedelta(days=39))
    economics.count("here")
    for _ in range(3):
        submitted(alice, price=1000)
    for claim in lease.claim("echo", pod_id(), 3):
        lease.finish(claim, Job.State.SUCCEEDED, charge=claim.price)

    rows = economics.rows(30)

    assert sum(row.revenue for row in rows) == 3000
    assert sum(row.cost for row in rows) == pytest.approx(1000, abs=1)
    assert sum(row.margin for row in rows) == pytest.approx(2000, abs=1)
    # Two, if it is just past midnight.
    assert {row.model for row in rows} == {"echo"}
    assert sum(row.requests for row in rows) == 3
    assert [row.day for row in rows] == sorted((row.day for row in rows), reverse=True)
    assert len(economics.rows(60)) > len(rows)

    out = StringIO()
    call_command("economics", "--days=1", stdout=out)
    assert out.getvalue().splitlines()[-1].split()[:3] == ["together", "3", "0.02"]


def test_metrics_count_it_too(alice: User) -> None:
    # Nobody else's, whose counts may still be on their way.
    model = "echo:metrics"
    pod(model)
    economics.count("here")
    submitted(alice, model=model, price=1000)
    for claim in lease.claim(model, pod_id(), 1):
        lease.finish(claim, Job.State.SUCCEEDED, charge=claim.price)
    counters.flush()
    told = {
        sample.name: round(sample.value, 9)
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.labels.get("model") == model
    }
    assert told["modelpilot_revenue_usd_total"] == 0.001
    assert told["modelpilot_cost_usd_total"] == 0.06
    assert told["modelpilot_margin_usd"] == -0.059


def test_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "MODELPILOT_DEVICE_HOUR_COST"
    monkeypatch.setenv(name, "cpu=0.05, NVIDIA H200=3.50,gpu = 1")
    costs = product_settings.hour_costs(name)
    assert costs == {"cpu": 0.05, "nvidia h200": 3.5, "gpu": 1.0}
    for wrong in ("cpu", "=1", "cpu=-1", "cpu=much", "cpu=nan"):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(ImproperlyConfigured, match="like cpu"):
            product_settings.hour_costs(name)
