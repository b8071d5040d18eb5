"""Making a backup while the product runs and takes requests.

The database comes first, as it is at one moment, and then the files that its rows name. A job's
files are on the disk before its row names them, so every row of that moment has its files; the
other way round, rows of jobs that end meanwhile would name files that nobody copied. What may
still be missing is what was deleted since that moment (rows go before files): those jobs are
listed, and their content is deleted by the restore, too.
"""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection, transaction

from modelpilot import schema
from modelpilot.backup import archive, postgres
from modelpilot.backup.archive import Manifest, Writer
from modelpilot.jobs.models import Output

# Rows that are fetched at once.
BATCH = 1000


@dataclass
class Taken:
    """What a backup holds. `missing` are paths of outputs whose rows are there, but not they."""

    outputs: int = 0
    bytes: int = 0
    missing: list[str] = field(default_factory=list)


def take(path: Path, *, outputs: bool = True) -> Taken:
    """Write a backup to `path`, which must not exist. Raises BackupError and OSError; then there
    is nothing at `path`."""
    taken = Taken()
    with archive.writing(path) as writer:
        with transaction.atomic():
            snapshot = begin_snapshot()
            writer.add_json("manifest.json", asdict(manifest(outputs=outputs)))
            writer.add_stream("database", postgres.dump(settings.DATABASE_URL, snapshot))
            for name, file in own_files():
                writer.add_bytes(name, file.read_bytes())
            lost = list(add_outputs(writer, taken)) if outputs else []
        # Outside of the snapshot: now.
        there = set(Output.objects.filter(id__in=[each.id for each in lost]).values_list("id"))
        taken.missing = [each.path for each in lost if (each.id,) in there]
        deleted = {str(each.job_id) for each in lost if (each.id,) not in there}
        writer.add_json("deleted.json", sorted(deleted))
    return taken


def begin_snapshot() -> str:
    """Let this transaction see one moment; the name by which others may see it, too."""
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        return str(cursor.fetchone()[0])


def manifest(*, outputs: bool) -> Manifest:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone()
    return Manifest(
        version=settings.VERSION,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        postgres=str(version),
        secret=fingerprint(settings.SECRET_KEY),
        migrations=schema.applied(),
        outputs=outputs,
    )


def fingerprint(secret: str) -> str:
    """Tells secret keys apart, and nothing of them."""
    return hmac.digest(secret.encode(), b"modelpilot backup", hashlib.sha256).hex()[:16]


def own_files() -> Iterator[tuple[str, Path]]:
    """Beside the database and the outputs: the secret, unless the operator keeps it elsewhere,
    and the operator's cards."""
    if not settings.SECRET_KEY_IS_GIVEN:
        yield "secret-key", settings.DATA / "secret-key"
    for number, path in enumerate(settings.CATALOGS):
        if path == settings.DATA / "catalog.toml":
            yield "catalog.toml", path
        elif path.exists():
            yield f"catalogs/{number}-{path.name}", path


def add_outputs(writer: Writer, taken: Taken) -> Iterator[Output]:
    """Copy the files of all rows in this snapshot; returns those that have none."""
    rows = Output.objects.order_by("job_id").only("id", "job_id", "path")
    for output in rows.iterator(chunk_size=BATCH):
        try:
            with default_storage.open(output.path) as file:
                writer.add(f"outputs/{output.path}", file, file.size)
        except FileNotFoundError:
            yield output
        else:
            taken.outputs += 1
            taken.bytes += file.size
