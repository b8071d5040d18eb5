import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing import payments, reconcile
from modelpilot.jobs.housekeeping import check_books


class Command(BaseCommand):
    help = (
        "Prove the books: accounts, transfers, holds and jobs; with Stripe's key, catch up with "
        "Stripe and compare. Exit status 1 on any problem."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=reconcile.DAYS,
            help="how far to look back at Stripe (default: %(default)s; its events go back 30)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = check_books(options["days"])
        for problem in found:
            self.stderr.write(problem)
        if found:
            sys.exit(1)
        if payments.configured():
            self.stdout.write("Stripe and the ledger agree.")
        self.stdout.write("The books are proved.")
