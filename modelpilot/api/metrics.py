"""/metrics for Prometheus: the counters of all processes, and what the tables say now.

Nothing read here grows with the history: live jobs are found by partial indexes, pods and nodes
are few, and everything that only grows is counted in Valkey (see jobs/counters.py).
"""

import ipaddress
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.request import split_domain_port
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from modelpilot.accounts import keys
from modelpilot.accounts.models import User
from modelpilot.api import auth, envelope
from modelpilot.errors import ApiError
from modelpilot.hop import hop
from modelpilot.jobs import counters, valkey

# One partial index each: `state IN (…)` would use neither.
LIVE = " UNION ALL ".join(
    f"""
    SELECT model, '{state}' AS state, count(*) AS jobs, COALESCE(sum(price), 0)::bigint AS held,
           EXTRACT(EPOCH FROM now() - min(created_at))::float8 AS oldest
    FROM jobs_job WHERE state = '{state}' GROUP BY model"""
    for state in ("queued", "running")
)
PODS = """
SELECT deployment.model, pod.node_id, pod.phase, count(*), sum(pod.resident_mb), sum(pod.busy),
       sum(pod.slots)
FROM fleet_pod pod JOIN fleet_deployment deployment ON deployment.id = pod.deployment_id
GROUP BY 1, 2, 3
"""
NODES = """
SELECT name, EXTRACT(EPOCH FROM now() - heartbeat_at)::float8 FROM fleet_node
"""
DEVICES = """
SELECT node.name, device.id, device.memory_mb, device.free_mb
FROM fleet_node node
CROSS JOIN jsonb_to_recordset(node.devices) AS device (id text, memory_mb bigint, free_mb bigint)
"""
# Whoever came through a proxy is not the machine itself.
FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via")


async def metrics(request: HttpRequest) -> HttpResponseBase:
    """For programs on this machine, and for a staff account's key. Not rate limited."""
    try:
        await admit(request)
    except ApiError as error:
        return envelope.respond(error)
    response = HttpResponse(await hop(exposition), content_type=CONTENT_TYPE_LATEST)
    response.headers["Cache-Control"] = "no-store"
    return response


async def admit(request: HttpRequest) -> None:
    if is_local(request):
        return
    principal = await hop(keys.authenticate, auth.bearer(request))
    if principal is None or not await hop(is_staff, principal.user_id):
        raise ApiError(
            403 if principal else 401,
            "permission_denied" if principal else "invalid_api_key",
            "Metrics are for programs on this machine and for operators: send a staff account's "
            "key as 'Authorization: Bearer mp_live_…'.",
            type="permission_error" if principal else "authentication_error",
        )


def is_local(request: HttpRequest) -> bool:
    # By another name a browser comes here that some page has sent.
    named = split_domain_port(request.headers.get("Host", ""))[0] in settings.LOOPBACK_NAMES
    if not named or any(name in request.headers for name in FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def is_staff(user_id: int) -> bool:
    return User.objects.filter(id=user_id, is_staff=True).exists()


def exposition() -> bytes:
    # No other collectors: this process's own numbers say little about the product.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())
    return generate_latest(registry)


class Everything(Collector):
    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("modelpilot_up", "Whether a server answers.", labels=["server"])
        for server, read, away in (
            ("database", from_database, (DatabaseError, InterfaceError)),
            ("valkey", from_counters, valkey.AWAY),
        ):
            try:
                yield from read()
                up.add_metric([server], 1)
            except away:
                up.add_metric([server], 0)
        yield up


def from_database() -> list[Metric]:
    with connection.cursor() as cursor:
        live, pods, nodes, devices = (
            rows(cursor, statement) for statement in (LIVE, PODS, NODES, DEVICES)
        )
    jobs = gauge("modelpilot_jobs", "Jobs that wait or run.", "model", "state")
    held = gauge("modelpilot_held_usd", "Money that waiting and running jobs hold.", "model")
    oldest = gauge("modelpilot_oldest_job_seconds", "Age of the oldest.", "model", "state")
    holds: dict[str, int] = {}
    for model, state, count, amount, age in live:
        jobs.add_metric([model, state], count)
        oldest.add_metric([model, state], age)
        holds[model] = holds.get(model, 0) + amount
    for model, amount in holds.items():
        held.add_metric([model], amount / 1e6)
    labels: tuple[str, ...] = ("model", "node", "phase")
    by_phase = gauge("modelpilot_pods", "Pods by phase.", *labels)
    memory = gauge("modelpilot_pod_memory_bytes", "Resident memory of pods.", *labels)
    busy = gauge("modelpilot_pod_slots_busy", "Jobs that pods work on.", *labels)
    slots = gauge("modelpilot_pod_slots", "Jobs that pods can work on at once.", *labels)
    for model, node, phase, count, megabytes, working, room in pods:
        for family, value in (
            (by_phase, count),
            (memory, megabytes * 1_000_000),
            (busy, working),
            (slots, room),
        ):
            family.add_metric([model, node, phase], value)
    silence = gauge("modelpilot_node_silence_seconds", "Since a node was heard of.", "node")
    for node, seconds in nodes:
        silence.add_metric([node], seconds)
    labels = ("node", "device")
    budget = gauge("modelpilot_device_memory_bytes", "Memory that pods may use.", *labels)
    unused = gauge("modelpilot_device_free_bytes", "Memory that nobody uses now.", *labels)
    for node, device, megabytes, free in devices:
        budget.add_metric([node, device], megabytes * 1_000_000)
        unused.add_metric([node, device], free * 1_000_000)
    return [jobs, held, oldest, by_phase, memory, busy, slots, silence, budget, unused]


def rows(cursor: Any, statement: str) -> list[tuple[Any, ...]]:
    cursor.execute(statement)
    found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def from_counters() -> list[Metric]:
    # What this process has counted belongs to the answer.
    counters.flush()
    kept: dict[str, dict[tuple[str, ...], int]] = {}
    for (name, *labels), number in counters.read().items():
        kept.setdefault(name, {})[tuple(labels)] = number
    families = [family(metric, kept.get(metric.name, {})) for metric in counters.METRICS]
    return [*families, margin(kept)]


def margin(kept: dict[str, dict[tuple[str, ...], int]]) -> Metric:
    """It may fall, so it is no counter; it begins where the two that it is of begin."""
    answer = gauge("modelpilot_margin_usd", "Revenue without cost.", "model")
    earned, spent = (kept.get(metric.name, {}) for metric in (counters.REVENUE, counters.COST))
    for labels in sorted(earned.keys() | spent.keys()):
        gain = earned.get(labels, 0) * counters.REVENUE.scale
        answer.add_metric(labels, round(gain - spent.get(labels, 0) * counters.COST.scale, 9))
    return answer


def family(metric: counters.Metric, numbers: dict[tuple[str, ...], int]) -> Metric:
    if metric.bounds:
        return histogram(metric, numbers)
    counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, number in sorted(numbers.items()):
        counter.add_metric(labels, number * metric.scale)
    return counter


def histogram(metric: counters.Metric, numbers: dict[tuple[str, ...], int]) -> Metric:
    """Kept by bucket; Prometheus wants each to hold all smaller ones too."""
    answer = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels in sorted({labels[:-1] for labels in numbers}):
        total = 0
        buckets = []
        for index, bound in enumerate((*metric.bounds, float("inf"))):
            total += numbers.get((*labels, str(index)), 0)
            buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", total))
        answer.add_metric(labels, buckets, numbers.get((*labels, "sum"), 0) * metric.scale)
    return answer
