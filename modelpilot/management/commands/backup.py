from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from modelpilot import embedded
from modelpilot.backup.archive import BackupError
from modelpilot.backup.take import take


class Command(BaseCommand):
    help = (
        "Write database, outputs, cards and secret key into one file, also while everything runs. "
        "Models' weights stay out. The file is not encrypted, and has the secret key in it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="a new file; only you may read it")
        parser.add_argument(
            "--without-outputs",
            action="store_true",
            help="leave pictures, films and speech out, as where they are in a bucket anyway",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        try:
            with embedded.running(settings, valkey=False):
                taken = take(path, outputs=not options["without_outputs"])
        except (BackupError, OSError, DatabaseError, embedded.ServerError) as error:
            raise CommandError(f"There is no backup: {error}") from None
        for missing in taken.missing:
            self.stderr.write(f"Its file is missing, in the backup too: {missing}")
        self.stdout.write(
            f"{path}: {path.stat().st_size / 1e6:.1f} MB, with {taken.outputs} outputs of "
            f"{taken.bytes / 1e6:.1f} MB."
        )
