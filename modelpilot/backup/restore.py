"""Putting a backup into a data directory, whole or not at all.

A marker stands in the data directory from before the first change until after the last, and
nothing else starts while it is there (see checks.py): a restore that was killed can only be run
again. What was there before is set aside and never deleted. The database comes last and in one
transaction, so that whoever else uses it sees all of it or none.
"""

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import DatabaseError, connection

from modelpilot import embedded, pool, schema
from modelpilot.backup import archive, postgres
from modelpilot.backup.archive import Archive, BackupError
from modelpilot.backup.take import fingerprint
from modelpilot.jobs import housekeeping, storage, valkey
from modelpilot.jobs.models import Job

# What makes a data directory one that is in use; weights, logs and locks may stay.
KEPT = ("postgres", "valkey", "outputs", "catalog.toml", "catalogs", "secret-key", "operator-key")
# Every command makes it on a fresh machine.
FRESH = ("secret-key",)
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
CLOSING_S = 5.0
TABLES = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public')"


@dataclass
class Restored:
    """`aside`: where what was there before has gone; `live`: jobs that were under way."""

    outputs: int = 0
    live: int = 0
    aside: list[str] = field(default_factory=list)
    catalogs: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def restore(path: Path, *, force: bool) -> Restored:
    """Make this data directory, and the database, what they were when `path` was made.

    The caller sees to it that no `up` runs here. Raises BackupError: with everything as it was, or
    saying that the restore has not ended.
    """
    with archive.opened(path) as opened:
        check_fits(opened)
        check_unused(force=force or settings.RESTORING.exists())
        restored = Restored()
        settings.DATA.mkdir(parents=True, exist_ok=True)
        settings.RESTORING.touch()
        archive.sync_folder(settings.DATA)
        try:
            put_all(opened, datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), restored)
        except (BackupError, OSError, DatabaseError, embedded.ServerError) as error:
            raise BackupError(unfinished(error, restored)) from error
    settings.RESTORING.unlink()
    archive.sync_folder(settings.DATA)
    return restored


def put_all(opened: Archive, moment: str, restored: Restored) -> None:
    set_aside(settings.DATA / f"replaced-{moment}", restored)
    put_files(opened, restored)
    with embedded.running(settings, valkey=False):
        put_database(opened, f"replaced_{moment.replace('-', '_')}", restored)
        call_command("migrate", verbosity=0, interactive=False)
        delete_again(opened.json("deleted.json"))
        live = Job.objects.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING])
        restored.live = live.count()
        restored.problems = housekeeping.problems()
    if not settings.EMBEDDED_VALKEY:
        # It may remember what the restored jobs did later on.
        valkey.client().flushdb()


def unfinished(error: Exception, restored: Restored) -> str:
    aside = (
        f" What was there before is in {' and '.join(restored.aside)}." if restored.aside else ""
    )
    return (
        f"{str(error).strip()}\nThe restore has not ended, and nothing starts in {settings.DATA} "
        f"before one has: run it again when that is mended.{aside}"
    )


def check_fits(opened: Archive) -> None:
    """Whether this program and its secret key are of use with what the backup holds."""
    made = opened.manifest
    if newer := schema.unknown(made.migrations):
        raise BackupError(
            f"{opened.path} was made by ModelPilot {made.version}, whose database this one, "
            f"{settings.VERSION}, does not know (such as {newer[0]}). Restore it with that version."
        )
    has_secret = any(not rest for rest, _, _ in opened.entries("secret-key"))
    if has_secret and not settings.SECRET_KEY_IS_GIVEN:
        return
    if not settings.SECRET_KEY_IS_GIVEN or fingerprint(settings.SECRET_KEY) != made.secret:
        raise BackupError(
            "The keys in this backup were made with another secret. Set MODELPILOT_SECRET_KEY to "
            "the one of that installation"
            + (", or unset it: the backup has the file secret-key." if has_secret else ".")
        )


def check_unused(*, force: bool) -> None:
    there = [name for name in KEPT if name not in FRESH and (settings.DATA / name).exists()]
    if settings.EMBEDDED_POSTGRES:
        if embedded.Share(embedded.Place(settings.DATA, "postgres"), durable=True).kept():
            raise BackupError(
                f"The database of {settings.DATA} is in use. Stop `up` and all other commands."
            )
    elif database_says(TABLES):
        there.append("a database with tables (DATABASE_URL)")
    if there and not force:
        raise BackupError(
            f"{settings.DATA} is in use: there is {', '.join(there)}. With --force that is set "
            "aside, not deleted."
        )
    if not settings.EMBEDDED_POSTGRES and (others := others_connected()):
        raise BackupError(
            f"Others are connected to the database, over {others} connections. Stop the web, "
            "housekeeping and nodes on all machines."
        )


def database_says(query: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def others_connected() -> int:
    """How many connections others have. Our own pool may have several, so it is closed first, and
    PostgreSQL needs a moment to see that."""
    pool.leave()
    patience = time.monotonic() + CLOSING_S
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as alone:
        while True:
            (others,) = alone.execute(OTHERS).fetchone() or (0,)
            if not others or time.monotonic() > patience:
                return int(others)
            time.sleep(0.1)


def set_aside(folder: Path, restored: Restored) -> None:
    """Move what is there into `folder`; a fresh secret alone is worth nothing."""
    there = [name for name in KEPT if (settings.DATA / name).exists()]
    if not set(there) - set(FRESH):
        return
    folder.mkdir(mode=0o700)
    for name in there:
        (settings.DATA / name).rename(folder / name)
    restored.aside.append(str(folder))


def put_files(opened: Archive, restored: Restored) -> None:
    for name in ("secret-key", "catalog.toml"):
        for rest, _, content in opened.entries(name):
            if not rest:
                put_file(settings.DATA / name, content.read())
    for name, _, content in opened.entries("catalogs/"):
        target = settings.DATA / "catalogs" / Path(name).name
        put_file(target, content.read())
        restored.catalogs.append(target)
    for name, _, content in opened.entries("outputs/"):
        # In a bucket they may be there still.
        if default_storage.exists(name):
            default_storage.delete(name)
        default_storage.save(name, File(content))
        restored.outputs += 1


def put_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def put_database(opened: Archive, aside: str, restored: Restored) -> None:
    """With the old tables in a schema of their own, if there are any."""
    if database_says(TABLES):
        first = f"ALTER SCHEMA public RENAME TO {aside};"
        restored.aside.append(f"the database's schema {aside}")
    else:
        first = "DROP SCHEMA IF EXISTS public;"
    connection.close()
    postgres.load(settings.DATABASE_URL, opened.stream("database"), first)


def delete_again(jobs: list[str]) -> None:
    """What was deleted while the backup was made, after its moment."""
    for job in Job.objects.filter(id__in=jobs):
        storage.delete_content(job)
