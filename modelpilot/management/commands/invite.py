from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelpilot.accounts import registration


class Command(BaseCommand):
    help = "Invite somebody: mails (where mail is set up) and prints a link that makes one account."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument(
            "--days",
            type=float,
            default=registration.LIFETIME / timedelta(days=1),
            help="how long the link can be used (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["days"] <= 365:
            raise CommandError("--days takes a number of days up to 365.")
        try:
            link = registration.invite(options["email"], timedelta(days=options["days"]))
        except ValidationError:
            raise CommandError(f"{options['email']!r} is not an e-mail address.") from None
        self.stdout.write(link)
