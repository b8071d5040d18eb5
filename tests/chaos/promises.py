"""What we promise, held against what happened."""

import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.clients import FRANCE, Asked
from tests.chaos.database import LEASE_S, Lost

ENDED = ("succeeded", "failed", "cancelled")
MOST_ATTEMPTS = 3
# Of those that broke a promise, how many are named.
SHOWN = 8
# Of an idle, warm pod, on a machine with other things to do. Without bells a pod looks every 5 s.
HEARD_S = 1.0
RECOVERED_S = LEASE_S + 10
# Why a job may fail here: its pod died under a stream or too often, or the disk was full.
REASONS = {"pod_died", "output_not_stored"}


@dataclass
class Report:
    """Figures by name, and a sentence for each promise that was broken."""

    seed: int
    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def hold(self, promise: str, against: list[str]) -> None:
        """`promise` is broken by each of `against`."""
        if against:
            shown = "; ".join(against[:SHOWN])
            self.broken.append(f"{promise}: {len(against)} times not. {shown}")

    def words(self) -> str:
        width = max(map(len, self.figures))
        lines = [f"{name:{width}}  {value}" for name, value in self.figures.items()]
        kept = self.broken or ["Every promise was kept."]
        return "\n".join([*lines, "", *kept])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(report: Report, asked: list[Asked], jobs: list[dict[str, Any]]) -> None:
    """Every request against the job that it became."""
    by_key: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for job in jobs:
        by_key.setdefault((job["email"], job["key"]), []).append(job)
    accepted = [one for one in asked if one.accepted]
    unknown = [one.key for one in accepted if (one.email, one.key) not in by_key]
    unfinished = [
        f"{job['id']} of {job['model']} is {job['state']} in attempt {job['attempt']}"
        for job in jobs
        if job["state"] not in ENDED
    ]
    twice = [key for (_, key), found in by_key.items() if key and len(found) > 1]
    overcharged = [job["id"] for job in jobs if job["charges"] > 1]
    failed = [job for job in jobs if job["state"] == "failed"]
    report.figures |= {
        "requests": len(asked),
        "accepted": len(accepted),
        **{state: sum(job["state"] == state for job in jobs) for state in ENDED},
        "failed because": dict(Counter(job["error"] for job in failed)),
        "lost": len(unknown) + len(unfinished),
        "one request, two jobs": len(twice),
        "charged twice": len(overcharged),
        "answered by": dict(Counter(word for one in asked for word in one.answers)),
        "slowest request": f"{max(one.seconds for one in asked):.1f} s",
    }
    report.hold("An accepted job is there afterwards", unknown)
    report.hold("An accepted job ends", unfinished)
    report.hold("One Idempotency-Key is one job", twice)
    report.hold("A job is charged once", overcharged)
    report.hold("A failure costs nothing", [job["id"] for job in failed if job["cost"]])
    report.hold(
        "A job fails for a reason that we know",
        [f"{job['id']} {job['error']}" for job in failed if job["error"] not in REASONS],
    )
    report.hold("A request ends in time", [one.key for one in asked if one.gave_up])
    report.hold("An answer is right", wrong(asked, by_key))
    report.hold(
        "A system in trouble says when to come again",
        [each for one in asked for each in one.improper],
    )


def wrong(asked: list[Asked], by_key: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    found = []
    for one in asked:
        for job in by_key.get((one.email, one.key), []):
            if job["state"] != "succeeded":
                continue
            if one.expected is not None and job["text"] != one.expected:
                found.append(f"{one.key} stored {job['text']!r:.80}")
            if one.read is not None and one.read != job["text"]:
                found.append(f"{one.key} was told {one.read!r:.80}")
            if one.kind == "talk" and "Paris" not in (job["text"] or ""):
                found.append(f"{FRANCE} {job['text']!r:.80}")
            if one.kind in ("speech", "picture") and job["outputs"] != 1:
                found.append(f"{one.key} has {job['outputs']} files")
    return found


def of(job: dict[str, Any], kind: str) -> bool:
    return str(job["key"]).startswith(f"{kind}-")


def judge_poison(report: Report, jobs: list[dict[str, Any]], lost: list[Lost]) -> None:
    """A job that kills its pod fails, and those beside it don't."""
    beside = [job for job in jobs if of(job, "beside_poison")]
    # Who lost a pod to a fault as well may have no attempt left.
    hit = {each.job for each in lost}
    report.hold(
        "Poison fails", [j["id"] for j in jobs if of(j, "poison") and j["state"] != "failed"]
    )
    report.hold(
        "A pod that others poison costs them nothing",
        [job["id"] for job in beside if job["state"] != "succeeded" and job["id"] not in hit],
    )


def judge_executions(
    report: Report, jobs: list[dict[str, Any]], lost: list[Lost], claimed: set[tuple[str, int]]
) -> None:
    """How much was done again, and how soon. `claimed` are the jobs and attempts of all pods that
    a fault has met: some come between the last look at a pod and its death."""
    # What poison takes is not the faults' doing.
    taken = [each for each in lost if each.model != "poison"]
    again = [
        (job["id"], attempt)
        for job in jobs
        if job["model"] != "poison"
        for attempt in range(1, job["attempt"])
    ]
    known = claimed | {(each.job, each.attempt) for each in taken}
    sudden = [each for each in taken if each.suddenly]
    free = [each.free_s for each in sudden if each.free_s is not None]
    back = [each.back_s for each in sudden if each.back_s is not None]
    report.figures |= {
        "executed again": len(again),
        "executions taken by faults": len(taken),
        "wasted seconds": f"{sum(each.ran_s for each in taken):.0f}",
        "given back after": percentiles(free),
        "runs again after": percentiles(back),
    }
    report.hold(
        f"A job runs at most {MOST_ATTEMPTS} times",
        [job["id"] for job in jobs if job["attempt"] > MOST_ATTEMPTS],
    )
    report.hold(
        "Only what a fault took is executed again",
        [f"attempt {attempt} of {job}" for job, attempt in again if (job, attempt) not in known],
    )
    report.hold("A job whose pod died runs again", [e.job for e in taken if e.back_s is None])
    if len(free) > 1 and p95(free) > RECOVERED_S:
        report.broken.append(f"A lease and ten seconds are not enough: {percentiles(free)}.")


def judge_bells(report: Report, jobs: list[dict[str, Any]]) -> None:
    """How soon an idle pod hears of a job."""
    waits = [job["waited_s"] for job in jobs if of(job, "probe") and job["waited_s"] is not None]
    report.figures["an idle pod hears after"] = percentiles(waits)
    if not waits or statistics.median(waits) > HEARD_S:
        report.broken.append(f"An idle pod does not hear the bell: {percentiles(waits)}.")


def percentiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return f"{seconds}"
    p50 = statistics.median(seconds)
    return f"p50 {p50:.2f} s, p95 {p95(seconds):.2f} s, of {len(seconds)}"


def p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1]
