"""What is wrong with this installation, a line each, the worst first, and what to do about it."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError

from modelpilot import embedded
from modelpilot.jobs import valkey
from modelpilot.management.doctor import installation, locks, tables
from modelpilot.management.doctor.finding import SEVERITY, Finding, Level, fail, ok, warn

# How long servers may take that nobody else has started.
START_S = 20.0
Look = Callable[[], Iterator[Finding]]

ALWAYS: tuple[Look, ...] = (
    installation.look_at_settings,
    installation.look_at_catalog,
    installation.look_at_disk,
    installation.look_at_devices,
    locks.look_at_locks,
    installation.look_at_port,
    installation.look_at_stripe,
)
WITH_DATABASE: tuple[Look, ...] = (
    tables.look_at_database,
    tables.look_at_migrations,
    locks.look_at_transactions,
    tables.look_at_models,
    tables.look_at_nodes,
    tables.look_at_jobs,
    tables.look_at_books,
)


def findings() -> Iterator[Finding]:
    settings.DATA.mkdir(parents=True, exist_ok=True)
    for look in ALWAYS:
        yield from safely(look)
    if locks.hung_servers():
        return
    try:
        with embedded.running(settings, patience_s=START_S):
            yield from safely(look_at_valkey)
            yield from from_database()
    except (embedded.ServerError, OSError) as error:
        yield fail(str(error), "See what the end of its log says.")


def from_database() -> Iterator[Finding]:
    for look in WITH_DATABASE:
        try:
            yield from safely(look)
        except tables.Unusable:
            return
        except (DatabaseError, InterfaceError) as error:
            yield fail(
                f"The database does not do what is asked: {str(error).strip()}",
                "Look at DATABASE_URL, and at the database's own log.",
            )
            return


def safely(look: Look) -> Iterable[Finding]:
    """What a look finds; one that breaks must not hide what the others find."""
    try:
        yield from look()
    except (DatabaseError, InterfaceError, tables.Unusable):
        raise
    except Exception as error:
        what = look.__name__.removeprefix("look_at_")
        yield fail(f"Looking at {what} broke: {error!r}", "Please report this.")


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


class Command(BaseCommand):
    help = "Say what is wrong with this installation and what to do. Exit status 1 on a failure."
    # They are among the findings.
    requires_system_checks: list[str] | tuple[str, ...] = ()

    def handle(self, *args: Any, **options: Any) -> None:
        paint: dict[Level, Callable[[str], str]] = {
            "fail": self.style.ERROR,
            "warn": self.style.WARNING,
            "ok": self.style.SUCCESS,
        }
        found = sorted(findings(), key=lambda finding: SEVERITY.index(finding.level))
        for finding in found:
            # What others said may have several lines.
            text = " ".join(finding.text.split())
            self.stdout.write(f"{paint[finding.level](f'{finding.level:4}')}  {text}")
            if finding.todo:
                self.stdout.write(f"      {finding.todo}")
        if any(finding.level == "fail" for finding in found):
            sys.exit(1)
