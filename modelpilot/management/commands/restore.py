import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelpilot.backup.archive import BackupError
from modelpilot.backup.restore import Restored, restore
from modelpilot.management.commands.up import only_one


class Command(BaseCommand):
    help = (
        "Put what `backup` wrote into this data directory and the database of DATABASE_URL. Only "
        "restore what you trust: a backup can do to the database whatever it likes."
    )
    # A half restored directory is refused by them; here that is mended.
    requires_system_checks: list[str] | tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--force",
            action="store_true",
            help="also where something is: that is set aside, not deleted",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with only_one():
                restored = restore(options["file"], force=options["force"])
        except BackupError as error:
            raise CommandError(str(error)) from None
        self.tell(restored)
        if restored.problems:
            sys.exit(1)

    def tell(self, restored: Restored) -> None:
        for problem in restored.problems:
            self.stderr.write(f"The books do not prove: {problem}.")
        for path in restored.catalogs:
            self.stdout.write(f"Name {path} in MODELPILOT_CATALOG, if its models shall be served.")
        for place in restored.aside:
            self.stdout.write(f"What was there before is in {place}.")
        self.stdout.write(
            f"{settings.DATA} has what the backup had, with {restored.outputs} outputs. Jobs that "
            f"were under way: {restored.live}. Once `up` runs, each runs again, or fails and costs "
            "nothing."
        )
        if not restored.problems:
            self.stdout.write("The books are proved.")
