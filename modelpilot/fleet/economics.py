"""What models earn and what they cost the operator, by day.

A pod's time costs the operator's price of an hour of each of its devices, whether it works or
waits. Pods that sit on one device at once share its hour, so that a device never costs more than
its price.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Sum

from modelpilot import prepared
from modelpilot.fleet.models import PodTime
from modelpilot.jobs import counters, usage
from modelpilot.jobs.models import Usage

# Moves the time of a node's pods, since it was last counted, to the days that it was on; those in
# `gone` are counted and deleted. One statement: whatever dies, no time is counted twice. A pod's
# time ends with its last sign of life, or now for one that the node has just `seen` end.
COUNT = """
WITH pod AS MATERIALIZED (
    SELECT id, deployment_id, node_id, devices, counted_at, id = ANY(%(gone)s::uuid[]) AS gone,
           CASE WHEN id = ANY(%(gone)s::uuid[]) AND %(seen)s::boolean THEN now()
                ELSE heartbeat_at END AS until
    FROM fleet_pod
    WHERE node_id = %(node)s::text
    ORDER BY id
    FOR UPDATE
), span AS (
    SELECT deployment.model, COALESCE(found.name, seat.device) AS device, days.day,
           EXTRACT(EPOCH FROM LEAST(until, (day + interval '1 day') AT TIME ZONE 'UTC')
                              - GREATEST(counted_at, day AT TIME ZONE 'UTC'))::float8 AS seconds,
           1.0 / count(*) OVER (PARTITION BY seat.device, days.day) AS share,
           COALESCE(%(rates)s::jsonb ->> lower(found.name),
                    %(rates)s::jsonb ->> CASE found.kind WHEN 'cpu' THEN 'cpu' ELSE 'gpu' END,
                    '0')::float8 / 3600 AS rate
    FROM pod
    JOIN fleet_deployment deployment ON deployment.id = pod.deployment_id
    JOIN fleet_node node ON node.name = pod.node_id
    CROSS JOIN LATERAL unnest(pod.devices) AS seat (device)
    LEFT JOIN LATERAL (
        SELECT listed.name, listed.kind
        FROM jsonb_to_recordset(node.devices) AS listed (id text, name text, kind text)
        WHERE listed.id = seat.device) found ON true
    CROSS JOIN LATERAL generate_series(
        date_trunc('day', counted_at AT TIME ZONE 'UTC'), until AT TIME ZONE 'UTC',
        interval '1 day') AS days (day)
), total AS (
    SELECT day::date AS day, model, device, sum(seconds) AS seconds,
           sum(seconds * share * rate * 1000000) AS cost
    FROM span WHERE seconds > 0 GROUP BY 1, 2, 3
), kept AS (
    INSERT INTO fleet_podtime AS so_far (day, model, device, seconds, cost)
    SELECT day, model, device, seconds, cost FROM total ORDER BY 1, 2, 3
    ON CONFLICT (day, model, device) DO UPDATE
    SET seconds = so_far.seconds + excluded.seconds, cost = so_far.cost + excluded.cost
), counted AS (
    UPDATE fleet_pod SET counted_at = pod.until
    FROM pod WHERE fleet_pod.id = pod.id AND NOT pod.gone AND pod.until > pod.counted_at
), deleted AS (
    DELETE FROM fleet_pod USING pod WHERE fleet_pod.id = pod.id AND pod.gone
)
SELECT model, sum(cost)::float8 FROM total GROUP BY model
"""


def count(node: str, gone: Sequence[uuid.UUID] = (), *, seen: bool = True) -> None:
    """Count the time of the node's pods, and delete those in `gone`.

    `seen`: it is now that they have gone; else they went when they were last heard of.
    """
    rates = json.dumps(settings.DEVICE_HOUR_COST)
    parameters = {"node": node, "gone": list(gone), "seen": seen, "rates": rates}
    for model, cost in prepared.run(COUNT, parameters):
        # Micro-dollars, of which the counter keeps thousandths.
        counters.add(counters.COST, model, amount=round(cost * 1e-6 / counters.COST.scale))


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one day (UTC). Money in micro-dollars; `device_seconds` of all its pods."""

    day: date
    model: str
    requests: int = 0
    revenue: int = 0
    cost: int = 0
    device_seconds: float = 0.0

    @property
    def margin(self) -> int:
        return self.revenue - self.cost


def rows(days: int) -> list[Row]:
    """The last `days` days, today among them, newest first; models with neither are left out.

    Revenue is what the ledger charged for the jobs that ended on a day (the books prove that).
    """
    first = usage.today() - timedelta(days=days - 1)
    earned: dict[tuple[date, str], dict[str, Any]] = {
        (row["day"], row["model"]): dict(row)
        for row in Usage.objects.filter(day__gte=first)
        .values("day", "model")
        .annotate(jobs=Sum("requests"), revenue=Sum("cost"))
    }
    spent: dict[tuple[date, str], dict[str, Any]] = {
        (row["day"], row["model"]): dict(row)
        for row in PodTime.objects.filter(day__gte=first)
        .values("day", "model")
        .annotate(spent=Sum("cost"), sat=Sum("seconds"))
    }
    return [
        row_of(day, model, earned.get((day, model), {}), spent.get((day, model), {}))
        for day, model in sorted(
            earned.keys() | spent.keys(), key=lambda key: (-key[0].toordinal(), key[1])
        )
    ]


def row_of(day: date, model: str, earned: dict[str, Any], spent: dict[str, Any]) -> Row:
    return Row(
        day=day,
        model=model,
        requests=earned.get("jobs", 0),
        revenue=earned.get("revenue", 0),
        cost=round(spent.get("spent", 0)),
        device_seconds=spent.get("sat", 0.0),
    )
