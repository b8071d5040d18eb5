"""Which tables this program knows: a newer one's must not be used by it."""

from collections.abc import Iterable

from django.db.migrations.loader import MigrationLoader

# Ours; other people's applications may come and go without harm.
APPS = ("accounts", "billing", "fleet", "jobs")


def unknown(applied: Iterable[str]) -> list[str]:
    """Those migrations (`"jobs.0001_initial"`) of ours that only a newer program has."""
    loader = MigrationLoader(None)
    known = {f"{app}.{name}" for app, name in loader.disk_migrations}
    return sorted(name for name in applied if name.partition(".")[0] in APPS and name not in known)
