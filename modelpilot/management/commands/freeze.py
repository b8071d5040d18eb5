from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.models import Freeze
from modelpilot.accounts import credit
from modelpilot.accounts.models import User


class Command(BaseCommand):
    help = "Freeze an account, so that it can start nothing, or lift what froze it (--lift)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--reason", default="by the operator")
        parser.add_argument("--lift", action="store_true", help="lift every freeze, also disputes'")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(email=options["email"].lower()).first()
        if user is None:
            raise CommandError(f"There is no account {options['email']!r}.")
        if options["lift"]:
            lifted = credit.unfreeze(user)
            self.stdout.write(f"{lifted} freezes of {user.email} were lifted.")
            return
        credit.freeze(user, reason=options["reason"])
        for freeze in Freeze.objects.filter(owner=user, lifted_at=None).order_by("id"):
            self.stdout.write(f"{freeze.created_at:%Y-%m-%d %H:%M} {freeze.cause} {freeze.reason}")
