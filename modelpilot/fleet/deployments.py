"""Wishing models to be served, and what is known about those that are."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce, Now

from billing.sql import PRICE_IN_FORCE
from inference import weights
from inference.catalog import Card
from inference.errors import InferenceError
from inference.picking import ANY, Choice, Picked
from modelpilot import prepared
from modelpilot.accounts import audit
from modelpilot.errors import ApiError
from modelpilot.fleet import facts, machine
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.models import Deployment

# Loads that may fail one after the other before the jobs that wait are told.
MAX_FAILURES = 3


def obstacle(card: Card, choice: Choice = ANY) -> str | None:
    """Why this machine can't serve the card as it is, as a sentence; None if it can."""
    picked = picked_for(card, choice)
    if picked.obstacle:
        return picked.obstacle
    try:
        weights.find(picked.card, settings.MODELS, settings.CACHE)
    except InferenceError as error:
        return error.message
    return None


def picked_for(card: Card, choice: Choice = ANY) -> Picked:
    """How the card is run by this machine or another that is alive."""
    elsewhere = [facts.devices_found(node) for node in facts.alive_nodes()]
    return machine.pick(card, [machine.devices(), *elsewhere], choice)


def deploy_available() -> list[str]:
    """Deploy every card that can be served here as it is, scaled to zero; returns their ids.

    Does nothing once there is a deployment: the operator's choices are not undone.
    """
    if Deployment.objects.exists():
        return []
    models = [card.id for card in cards().cards.values() if obstacle(card) is None]
    Deployment.objects.bulk_create(
        [Deployment(model=model) for model in models], ignore_conflicts=True
    )
    return models


def deploy(card: Card, choice: Choice = ANY) -> Deployment:
    """Serve a card from now on, in the way that is chosen; ApiError 422 says what hinders."""
    must_have(card, choice)
    reason = obstacle(card, choice)
    if reason and not can_be_downloaded(card, choice):
        raise ApiError(
            422, "model_not_deployable", f"{card.id} can't be deployed. {reason}", param="model"
        )
    with transaction.atomic():
        chosen = {"engine": choice.engine, "devices": choice.devices}
        deployment, created = Deployment.objects.get_or_create(model=card.id, defaults=chosen)
        if choice not in (ANY, deployment.choice):
            Deployment.objects.filter(id=deployment.id).update(**chosen)
            deployment.refresh_from_db()
        if created:
            audit.record("deployment.create", about(deployment))
            return deployment
        return start(deployment)


def must_have(card: Card, choice: Choice) -> None:
    """Raises ApiError 422 if no way to run the card is as it is chosen."""
    if any(choice.allows(way) for way in card.ways):
        return
    known = list(dict.fromkeys(way.engine for way in card.ways))
    if choice.engine and choice.engine not in known:
        param, message = "engine", f"has no engine '{choice.engine}'. It has: {', '.join(known)}."
    else:
        numbers = sorted({way.devices for way in card.ways if choice.engine in ("", way.engine)})
        engine = f" with {choice.engine}" if choice.engine else ""
        of_it = " or ".join(map(str, numbers))
        param, message = "devices", f"runs on {of_it} devices{engine}, not on {choice.devices}."
    raise ApiError(422, "invalid_value", f"{card.id} {message}", param=param)


def about(deployment: Deployment) -> str:
    """How the audit log calls a deployment."""
    return f"deployment {deployment.id} of {deployment.model}"


def can_be_downloaded(card: Card, choice: Choice = ANY) -> bool:
    """Whether only the weights are missing, and the hub has them and answers."""
    picked = picked_for(card, choice)
    if picked.obstacle:
        return False
    return weights.reachable(picked.card, settings.MODELS, settings.CACHE)


def start(deployment: Deployment) -> Deployment:
    """Serve it (again), with past failures forgotten."""
    deployment.desired = Deployment.Desired.RUNNING
    deployment.failures, deployment.error, deployment.retry_at = 0, "", None
    with transaction.atomic():
        deployment.save(update_fields=["desired", "failures", "error", "retry_at"])
        audit.record("deployment.start", about(deployment))
    return deployment


def stop(deployment: Deployment) -> Deployment:
    """Serve it no longer: running jobs finish, waiting ones fail, new ones are refused."""
    deployment.desired = Deployment.Desired.STOPPED
    with transaction.atomic():
        deployment.save(update_fields=["desired"])
        audit.record("deployment.stop", about(deployment))
    return deployment


def change(deployment: Deployment, **fields: Any) -> Deployment:
    """Set `pinned`, `replicas`, `idle_seconds`, `engine` and `devices` (None: what fits best); the
    nodes follow within a second, but pods that run stay as they are."""
    if "engine" in fields:
        fields["engine"] = fields["engine"] or ""
    for name, value in fields.items():
        setattr(deployment, name, value)
    card = cards().cards.get(deployment.model)
    if card is not None and not fields.keys().isdisjoint(("engine", "devices")):
        must_have(card, deployment.choice)
    if fields:
        with transaction.atomic():
            deployment.save(update_fields=list(fields))
            audit.record("deployment.change", about(deployment), **fields)
    return deployment


@dataclass(frozen=True, slots=True)
class Serving:
    """A deployment as a request meets it. `phase` is that of its most advanced pod, `price` what
    an operator wants instead of the card's (see `catalog.price_of`)."""

    id: str
    model: str
    running: bool
    phase: str | None
    progress: float | None
    pods: int
    run_seconds: float | None
    error: str
    price: dict[str, int] | None

    @property
    def warm(self) -> bool:
        return self.phase == "ready"


SERVING = f"""
SELECT deployment.id, deployment.model, deployment.desired = 'running', pod.phase, pod.progress,
       COALESCE(pod.pods, 0), deployment.run_seconds, deployment.error, in_force.price
FROM fleet_deployment deployment
LEFT JOIN LATERAL (
    SELECT phase, progress, count(*) OVER () AS pods FROM fleet_pod
    WHERE deployment_id = deployment.id AND phase <> 'draining'
    ORDER BY array_position(ARRAY['ready', 'loading', 'downloading', 'starting'], phase::text)
    LIMIT 1
) pod ON true
{PRICE_IN_FORCE.format(model="deployment.model")}
"""


def serving(model: str) -> Serving | None:
    """The deployment of a model, with the state of its pods, in one statement."""
    rows = prepared.run(SERVING + "WHERE deployment.model = %(model)s::text", {"model": model})
    return serving_from(rows[0]) if rows else None


def all_serving() -> list[Serving]:
    rows = prepared.run(SERVING + "ORDER BY deployment.model", {})
    return [serving_from(row) for row in rows]


def serving_from(row: tuple[Any, ...]) -> Serving:
    price = None if row[-1] is None else json.loads(row[-1])
    return Serving(*(*row[:-1], price))


def record_load(deployment_id: str, seconds: float) -> None:
    """A pod has loaded: measure, and forget earlier failures."""
    Deployment.objects.filter(id=deployment_id).update(
        load_seconds=average("load_seconds", seconds), failures=0, error="", retry_at=None
    )


# The latest runs, and their average; newest first.
RECORD_RUNS = """
UPDATE fleet_deployment
SET recent_runs = (%(runs)s::float8[] || recent_runs)[1:100],
    run_seconds = COALESCE(run_seconds * 0.7 + %(mean)s::float8 * 0.3, %(mean)s::float8)
WHERE id = %(deployment)s::text
"""


def record_runs(deployment_id: str, seconds: list[float]) -> None:
    """Runs of a pod that succeeded, newest first."""
    prepared.run(
        RECORD_RUNS,
        {"deployment": deployment_id, "runs": seconds, "mean": sum(seconds) / len(seconds)},
    )


def average(field: str, seconds: float) -> Any:
    """The exponentially weighted moving average of a field with one more measurement."""
    return Coalesce(F(field) * 0.7 + Value(seconds) * 0.3, Value(seconds))


def record_failure(deployment_id: str, error: str, *, retryable: bool) -> Deployment:
    """A load failed: say why and wait longer each time; a hopeless one waits an hour."""
    deployment = Deployment.objects.get(id=deployment_id)
    deployment.failures += 1 if retryable else MAX_FAILURES
    deployment.error = error
    wait_s = min(3600, 2**deployment.failures)
    deployment.save(update_fields=["failures", "error"])
    Deployment.objects.filter(id=deployment_id).update(retry_at=Now() + timedelta(seconds=wait_s))
    return deployment
