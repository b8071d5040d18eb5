"""What is wrong with this installation, a line each, and what to do about it."""

import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from django.utils import timezone

from inference.errors import InferenceError
from modelpilot import embedded
from modelpilot.fleet import deployments, machine
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.facts import SILENCE_S
from modelpilot.fleet.models import Deployment, Node
from modelpilot.jobs import valkey
from modelpilot.jobs.housekeeping import problems
from modelpilot.jobs.models import Job
from modelpilot.management.commands.up import unreadiness

# Less free space than this stops PostgreSQL and downloads soon, or now.
SCARCE_GB, NONE_LEFT_GB = 10, 1
# Clocks of machines that differ by more confuse leases' estimates and signed links.
CLOCK_S = 2.0
LATE_S = 60


@dataclass(frozen=True, slots=True)
class Finding:
    level: Literal["ok", "warn", "fail"]
    text: str
    todo: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def warn(text: str, todo: str) -> Finding:
    return Finding("warn", text, todo)


def fail(text: str, todo: str) -> Finding:
    return Finding("fail", text, todo)


def look_at_settings() -> Iterator[Finding]:
    messages = run_checks()
    for message in messages:
        make = fail if message.is_serious() else warn
        yield make(f"{message.id}: {message.msg}", message.hint or "")
    if not messages:
        yield ok(f"Settings, with the data in {settings.DATA}.")


def look_at_disk() -> Iterator[Finding]:
    free = shutil.disk_usage(settings.DATA).free / 1e9
    text = f"{free:.1f} GB are free in {settings.DATA}."
    todo = "Make room: data/cache is safe to delete, the rest isn't."
    if free < NONE_LEFT_GB:
        yield fail(text, todo)
    else:
        yield warn(text, todo) if free < SCARCE_GB else ok(text)


def look_at_devices() -> Iterator[Finding]:
    """What this machine computes with. A machine without a GPU has nothing wrong with it."""
    found = machine.devices()
    for device in found:
        yield ok(
            f"{device.name}: pods may use {device.memory_mb} MB of {device.total_mb} MB, "
            f"{device.free_mb} MB are free now."
        )
    if len(found) > 1:
        return
    if not machine.driver_answers():
        yield ok("No driver of NVIDIA answers, so models run on the CPU only.")
    else:
        yield warn(
            "NVIDIA's driver answers, but there is no GPU for pods.",
            "Look at CUDA_VISIBLE_DEVICES, and at what `nvidia-smi -L` says.",
        )


def look_at_database() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8, version()")
        now, version = cursor.fetchone()
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
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        yield fail(
            f"{len(missing)} migrations are missing, from {missing[0][0]} on.",
            "Run `python manage.py migrate`; `up` does it by itself.",
        )
    else:
        yield ok("All migrations are applied.")


def look_at_valkey() -> Iterator[Finding]:
    try:
        info: Any = valkey.client().info()
    except valkey.AWAY as error:
        yield fail(
            f"Valkey does not answer: {error}",
            "Jobs still run, found by looking every five seconds. Look at REDIS_URL.",
        )
        return
    yield ok(f"Valkey {info.get('valkey_version', info['redis_version'])} answers.")
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        yield warn(
            f"Valkey may throw events away ({info['maxmemory_policy']}).",
            "Set its maxmemory-policy to noeviction.",
        )


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
        return warn(
            f"{deployment.model} is deployed, and this machine can't serve it as it is. {reason}",
            "Fine if another node does, or if its weights are downloaded with its first job.",
        )
    return ok(f"{deployment.model} can be served.")


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
    """What housekeeping should have done a minute ago, and who holds locks for so long."""
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
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, application_name, state FROM pg_stat_activity "
            "WHERE xact_start < now() - interval '1 minute' AND datname = current_database() "
            "AND backend_type = 'client backend'"
        )
        for pid, name, state in cursor.fetchall():
            yield warn(
                f"Process {pid} of the database ({name or 'unnamed'}, {state}) has a "
                "transaction open for more than a minute, and may hold locks.",
                f"End it by SELECT pg_terminate_backend({pid}), unless it is a backup.",
            )


def look_at_books() -> Iterator[Finding]:
    found = problems()
    for problem in found[:20]:
        yield fail(
            f"The books do not prove: {problem}.",
            "Stop taking money, keep a copy of the database, and look at that account.",
        )
    if not found:
        yield ok("The books are proved.")


def look_at_port() -> Iterator[Finding]:
    with socket.socket(socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            listener.bind((settings.HOST, settings.PORT))
            yield warn(
                f"Nobody listens on {settings.HOST} port {settings.PORT}.", "Start `manage.py up`."
            )
            return
    reason = unreadiness()
    if reason is None:
        yield ok(f"The web server answers on {settings.HOST} port {settings.PORT}.")
    else:
        yield fail(
            f"On {settings.HOST} port {settings.PORT}, {reason}",
            "If that is another program, set MODELPILOT_PORT; else see the web process's log.",
        )


ALWAYS = (look_at_settings, look_at_disk, look_at_devices, look_at_port)
WITH_DATABASE = (
    look_at_database,
    look_at_migrations,
    look_at_models,
    look_at_nodes,
    look_at_jobs,
    look_at_books,
)


def findings() -> Iterator[Finding]:
    settings.DATA.mkdir(parents=True, exist_ok=True)
    for look in ALWAYS:
        yield from look()
    with ExitStack() as stack:
        try:
            stack.enter_context(embedded.running(settings))
        except (embedded.ServerError, OSError) as error:
            yield fail(str(error), "See what the end of its log says.")
            return
        yield from look_at_valkey()
        yield from from_database()


def from_database() -> Iterator[Finding]:
    for look in WITH_DATABASE:
        try:
            yield from look()
        except (DatabaseError, InterfaceError) as error:
            yield fail(
                f"The database does not do what is asked: {str(error).strip()}",
                "Look at DATABASE_URL, and run `python manage.py migrate`.",
            )
            return
        except InferenceError as error:
            yield fail(error.message, "Mend the card that it names.")


class Command(BaseCommand):
    help = "Say what is wrong with this installation and what to do. Exit status 1 on a failure."
    # They are among the findings.
    requires_system_checks: list[str] | tuple[str, ...] = ()

    def handle(self, *args: Any, **options: Any) -> None:
        paint: dict[str, Callable[[str], str]] = {
            "ok": self.style.SUCCESS,
            "warn": self.style.WARNING,
            "fail": self.style.ERROR,
        }
        failed = False
        for finding in findings():
            failed = failed or finding.level == "fail"
            self.stdout.write(f"{paint[finding.level](f'{finding.level:4}')}  {finding.text}")
            if finding.todo:
                self.stdout.write(f"      {finding.todo}")
        if failed:
            sys.exit(1)
