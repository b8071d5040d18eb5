import sys
from typing import Any

from django.core.management.base import BaseCommand

from modelpilot.jobs.housekeeping import problems


class Command(BaseCommand):
    help = "Prove the books: accounts, transfers, holds and jobs. Exit status 1 on any problem."

    def handle(self, *args: Any, **options: Any) -> None:
        found = problems()
        for problem in found:
            self.stderr.write(problem)
        if found:
            sys.exit(1)
        self.stdout.write("The books are proved.")
