"""How long an account waits for its models: from asking to the answer."""

from dataclasses import dataclass

from modelpilot.jobs import listing

# A measure of these days that costs the same however long the history is.
LATEST = 1000

PERCENTILES = """
SELECT model, count(*), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds)
FROM (
    SELECT model, state, EXTRACT(EPOCH FROM finished_at - created_at)::float8 AS seconds
    FROM jobs_job WHERE id IN (
        SELECT id FROM jobs_job WHERE owner_id = %(owner)s::bigint
        ORDER BY id DESC LIMIT %(latest)s::bigint)
) latest
WHERE state = 'succeeded'
GROUP BY model ORDER BY model
"""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from a job's creation to its end, of `jobs` that succeeded."""

    model: str
    jobs: int
    p50: float
    p95: float


def of(owner: int) -> list[Latency]:
    """By model, of the owner's LATEST jobs."""
    rows = listing.run(PERCENTILES, {"owner": owner, "latest": LATEST})
    return [Latency(model, jobs, p50, p95) for model, jobs, (p50, p95) in rows]
