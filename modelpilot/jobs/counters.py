"""Numbers that only grow, for /metrics: what all processes of all machines counted together.

Kept in one Valkey hash, as pods come and go and their own numbers would go with them. A process
counts in memory and hands over once a second, so counting costs microseconds and a Valkey that is
away costs nothing. What a killed process had not handed over is missing, and a Valkey without its
data begins at 0, which Prometheus understands: the truth about money and jobs is in the database.
"""

import atexit
import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

from modelpilot.jobs import valkey

KEY = "counters"
SEPARATOR = "\x1f"
FLUSH_S = 1.0

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


@dataclass(frozen=True, slots=True)
class Metric:
    """`scale`: kept as whole numbers of this size. A histogram has bounds."""

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    scale: float = 1


REQUESTS = Metric(
    "modelpilot_http_request_duration_seconds",
    "Requests until their last byte, by route and status (499: the client left first).",
    ("method", "route", "status"),
    SECONDS,
    1e-6,
)
JOBS = Metric("modelpilot_jobs_ended", "Jobs that ended.", ("model", "state"))
ACCEPTED = Metric("modelpilot_jobs_accepted", "Jobs that were accepted.", ("model",))
REQUEUED = Metric(
    "modelpilot_jobs_requeued", "Jobs whose pod died and that wait again.", ("model",)
)
QUEUE_WAIT = Metric(
    "modelpilot_job_queue_seconds",
    "From accepting a job to its first start.",
    ("model",),
    SECONDS,
    1e-6,
)
RUN_TIME = Metric(
    "modelpilot_job_run_seconds", "From a job's last start to its end.", ("model",), SECONDS, 1e-6
)
COLD_START = Metric(
    "modelpilot_cold_start_seconds",
    "From a pod's start to a loaded model, downloads included.",
    ("model",),
    SECONDS,
    1e-6,
)
TOKENS = Metric("modelpilot_tokens", "Tokens of jobs that ended.", ("model", "direction"))
REVENUE = Metric("modelpilot_revenue_usd", "What ended jobs were charged.", ("model",), scale=1e-6)
COST = Metric(
    "modelpilot_cost_usd",
    "Pods' time at the operator's price of their devices' hours.",
    ("model",),
    scale=1e-9,
)
METRICS = (
    REQUESTS,
    JOBS,
    ACCEPTED,
    REQUEUED,
    QUEUE_WAIT,
    RUN_TIME,
    COLD_START,
    TOKENS,
    REVENUE,
    COST,
)

pending: Counter[str] = Counter()
lock = threading.Lock()
flusher: threading.Thread | None = None


def add(metric: Metric, *labels: object, amount: int = 1) -> None:
    """Count; `amount` is in units of the metric's scale."""
    prefix = SEPARATOR.join((metric.name, *map(str, labels)))
    with lock:
        pending[prefix] += amount
    ensure_flushed()


def observe(metric: Metric, *labels: object, seconds: float) -> None:
    """Put one measurement into a histogram: `<prefix>|<bound>` counts, and the sum."""
    prefix = SEPARATOR.join((metric.name, *map(str, labels)))
    with lock:
        pending[f"{prefix}{SEPARATOR}{bisect_left(metric.bounds, seconds)}"] += 1
        pending[f"{prefix}{SEPARATOR}sum"] += round(seconds / metric.scale)
    ensure_flushed()


def ensure_flushed() -> None:
    global flusher
    if flusher is None:
        with lock:
            if flusher is None:
                flusher = threading.Thread(target=flush_forever, name="counters", daemon=True)
                flusher.start()
                atexit.register(flush)


def flush_forever() -> None:
    pause = threading.Event()
    while True:
        pause.wait(FLUSH_S)
        flush()


def flush() -> None:
    """Hand over what was counted; kept for the next time if Valkey is away."""
    with lock:
        counted = dict(pending)
        pending.clear()
    if not counted:
        return
    try:
        pipeline = valkey.client().pipeline(transaction=True)
        for field, amount in counted.items():
            pipeline.hincrby(KEY, field, amount)
        pipeline.execute()
    except valkey.AWAY:
        with lock:
            pending.update(counted)


def read() -> dict[tuple[str, ...], int]:
    """All counters: (metric, label, …) -> number. Raises `valkey.AWAY`."""
    kept: dict[bytes, bytes] = valkey.client().hgetall(KEY)  # type: ignore[assignment]
    return {tuple(field.decode().split(SEPARATOR)): int(number) for field, number in kept.items()}
