"""/metrics: what all processes counted and what the tables say, for operators only."""

import time
import uuid

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.leftovers import eventually
from tests.system import System

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(system: System) -> Samples:
    answer = requests.get(f"{system.base_url}/metrics", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(
        number for (found, its), number in samples.items() if found == name and wanted <= set(its)
    )


def test_a_chat_is_counted_by_everybody_who_saw_it(system: System, newcomer: NewCaller) -> None:
    caller = newcomer()
    before = scraped(system)
    for _ in range(3):
        assert caller.chat("one two three").status_code == 200
    assert caller.chat("one", model="nothing-like-it").status_code == 404
    eventually(
        lambda: (
            value(scraped(system), "modelpilot_jobs_ended_total", model="echo")
            >= value(before, "modelpilot_jobs_ended_total", model="echo") + 3
        )
    )
    after = scraped(system)

    def more(name: str, **labels: str) -> float:
        return round(value(after, name, **labels) - value(before, name, **labels), 6)

    route = "/api/v1/chat/completions"
    requests_total = "modelpilot_http_request_duration_seconds_count"
    assert more(requests_total, route=route, status="200", method="POST") == 3
    assert more(requests_total, route=route, status="404") == 1
    assert more("modelpilot_jobs_accepted_total", model="echo") == 3
    assert more("modelpilot_jobs_ended_total", model="echo", state="succeeded") == 3
    assert more("modelpilot_job_queue_seconds_count", model="echo") == 3
    assert more("modelpilot_job_run_seconds_count", model="echo") == 3
    assert more("modelpilot_revenue_usd_total", model="echo") == 0.003
    assert more("modelpilot_tokens_total", model="echo", direction="in") == 9
    assert more("modelpilot_tokens_total", model="echo", direction="out") > 0
    assert value(after, "modelpilot_cold_start_seconds_count", model="echo") >= 1
    assert value(after, "modelpilot_up") == 2
    histogram = "modelpilot_http_request_duration_seconds_bucket"
    assert more(histogram, route=route, status="200", le="+Inf") == 3


def test_gauges_are_of_this_moment(system: System, newcomer: NewCaller) -> None:
    caller = newcomer()
    with caller.stream("word " * 50, model="echo-slow") as lines:
        next(lines.chunks())
        samples = scraped(system)
    assert value(samples, "modelpilot_jobs", model="echo-slow", state="running") >= 1
    assert value(samples, "modelpilot_held_usd", model="echo-slow") >= 0.001
    assert value(samples, "modelpilot_pods", model="echo-slow", phase="ready") == 1
    assert value(samples, "modelpilot_pod_memory_bytes", model="echo-slow") > 10_000_000
    assert value(samples, "modelpilot_device_memory_bytes") > 0
    assert value(samples, "modelpilot_node_silence_seconds") < 10


def test_it_is_for_operators_only(system: System, bob: Caller, charlie: Caller) -> None:
    through_a_proxy = {"X-Forwarded-For": "203.0.113.9"}
    stranger = Caller(system.base_url, "junk")
    error_of(stranger.get("/metrics", headers=through_a_proxy), 401, "invalid_api_key")
    error_of(charlie.get("/metrics", headers=through_a_proxy), 403, "permission_denied")
    assert bob.get("/metrics", headers=through_a_proxy).status_code == 200


def test_nobody_can_make_the_answer_grow(system: System, charlie: Caller) -> None:
    scraped(system)
    before = len(scraped(system))
    for _ in range(20):
        charlie.get(f"/{uuid.uuid4()}")
        charlie.get(f"jobs/{uuid.uuid4()}")
        charlie.send(uuid.uuid4().hex[:8].upper(), "balance")
    # At most a route and a few statuses that were not asked for before.
    assert len(scraped(system)) < before + 100


def test_a_scrape_is_cheap(system: System) -> None:
    started = time.monotonic()
    for _ in range(10):
        scraped(system)
    assert (time.monotonic() - started) / 10 < 0.25
