"""Which tables this program knows: a newer one's must not be used by it."""

from collections.abc import Iterable

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

# Ours; other people's applications may come and go without harm.
APPS = ("accounts", "billing", "fleet", "jobs")


def applied() -> list[str]:
    """The migrations (`"jobs.0001_initial"`) that the database has had, of all applications."""
    had = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in had)


def unknown(names: Iterable[str]) -> list[str]:
    """Those migrations of ours that only a newer program has."""
    loader = MigrationLoader(None)
    known = {f"{app}.{name}" for app, name in loader.disk_migrations}
    return sorted(name for name in names if name.partition(".")[0] in APPS and name not in known)
