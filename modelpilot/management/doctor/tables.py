"""What the database says of the installation: migrations, models, nodes, jobs, books."""

import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from django.utils import timezone

from inference import weights
from modelpilot import schema
from modelpilot.fleet import deployments
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.facts import SILENCE_S
from modelpilot.fleet.models import Deployment, Node
from modelpilot.jobs.housekeeping import problems
from modelpilot.jobs.models import Job
from modelpilot.management.doctor.finding import Finding, fail, ok, warn

# Clocks of machines that differ by more confuse leases' estimates and signed links.
CLOCK_S = 2.0
LATE_S = 60
CONNECT_S = 5


class Unusable(Exception):
    """There is no use in looking further."""


def look_at_database() -> Iterator[Finding]:
    try:
        with psycopg.connect(settings.DATABASE_URL, connect_timeout=CONNECT_S) as plain:
            now, version = plain.execute(
                "SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8, version()"
            ).fetchone() or (0.0, "")
    except psycopg.Error as error:
        yield fail(
            f"The database does not answer: {' '.join(str(error).split())}",
            "Look at DATABASE_URL, and whether PostgreSQL runs there.",
        )
        raise Unusable from None
    yield ok(f"{' '.join(version.split()[:2])} answers.")
    difference = abs(now - time.time())
    if difference > CLOCK_S:
        yield warn(
            f"This machine's clock differs from the database's by {difference:.0f} s.",
            "Run an NTP client on both.",
        )
    else:
        yield ok("The clocks of this machine and the database agree.")


def look_at_migrations() -> Iterator[Finding]:
    if newer := schema.unknown(schema.applied()):
        yield fail(
            f"The database is of a newer ModelPilot than this one ({settings.VERSION}): it has "
            f"{newer[-1]}.",
            "Start that version, or restore the backup from before the upgrade.",
        )
        raise Unusable
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        yield fail(
            f"{len(missing)} migrations are missing, from {missing[0][0]} on.",
            "`up` applies them when it starts; or run `python manage.py migrate`.",
        )
        raise Unusable
    yield ok("All migrations are applied.")


def look_at_models() -> Iterator[Finding]:
    """Deployed models: whether they could be loaded here, and whether they were."""
    deployed = list(Deployment.objects.filter(desired=Deployment.Desired.RUNNING))
    if not deployed:
        yield warn("No model is deployed.", "See `python manage.py models`.")
    for deployment in deployed:
        yield look_at_model(deployment)


def look_at_model(deployment: Deployment) -> Finding:
    card = cards().cards.get(deployment.model)
    if card is None:
        return fail(
            f"{deployment.model} is deployed, but no catalog has it any more.",
            "Put its card back (MODELPILOT_CATALOG, data/catalog.toml), or stop its deployment.",
        )
    if deployment.failures >= deployments.MAX_FAILURES:
        return fail(
            f"{deployment.model} can't be loaded: {deployment.error}",
            f"When that is mended: POST /api/v1/deployments/{deployment.id}/start.",
        )
    if deployment.failures:
        return warn(f"{deployment.model} failed to load: {deployment.error}", "It is tried again.")
    if reason := deployments.obstacle(card, deployment.choice):
        return cannot_serve(deployment, reason)
    return ok(f"{deployment.model} can be served.")


def cannot_serve(deployment: Deployment, reason: str) -> Finding:
    text = f"{deployment.model} is deployed, and this machine can't serve it as it is. {reason}"
    picked = deployments.picked_for(cards().cards[deployment.model], deployment.choice)
    if Node.objects.exclude(name=settings.NODE).exists():
        return warn(text, "Fine if another node does.")
    if picked.obstacle is None and weights.named_on_hub(
        picked.card, settings.MODELS, settings.CACHE
    ):
        return warn(text, "Fine: its weights are downloaded with its first job.")
    return fail(text, "Put there what is missing, or stop its deployment: its jobs fail.")


def look_at_nodes() -> Iterator[Finding]:
    heard = timezone.now() - timedelta(seconds=SILENCE_S)
    for node in Node.objects.filter(heartbeat_at__gt=heard):
        yield ok(f"Node {node.name} is alive.")
    if not Node.objects.filter(heartbeat_at__gt=heard).exists():
        yield warn("No node is alive, so no model runs.", "Start `manage.py up`, or a node.")
    for node in Node.objects.filter(heartbeat_at__lte=heard):
        yield warn(
            f"Node {node.name} was last heard of at {node.heartbeat_at:%Y-%m-%d %H:%M}.",
            "Start it again, if it should be there.",
        )


def look_at_jobs() -> Iterator[Finding]:
    """What housekeeping should have done a minute ago."""
    late = Now() - timedelta(seconds=LATE_S)
    stale = Job.objects.filter(state=Job.State.RUNNING, lease_until__lt=late).count()
    overdue = Job.objects.filter(state=Job.State.QUEUED, deadline_at__lt=late).count()
    if stale or overdue:
        yield fail(
            f"{stale} jobs have lost their pod and {overdue} are past their deadline.",
            "Housekeeping ends them every five seconds: start it.",
        )
    else:
        yield ok("No job is left behind.")


def look_at_books() -> Iterator[Finding]:
    found = problems()
    for problem in found[:20]:
        yield fail(
            f"The books do not prove: {problem}.",
            "Stop taking money, keep a copy of the database, and look at that account.",
        )
    if not found:
        yield ok("The books are proved.")
