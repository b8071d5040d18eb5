import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from billing import ledger
from billing.models import Freeze
from modelpilot.accounts import audit
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
            with transaction.atomic():
                lifted = ledger.unfreeze(user.id)
                audit.record("account.unfreeze", user, freezes=lifted)
            self.stdout.write(f"{lifted} freezes of {user.email} were lifted.")
            return
        with transaction.atomic():
            ledger.freeze(user.id, cause=f"operator:{uuid.uuid4()}", reason=options["reason"])
            audit.record("account.freeze", user, reason=options["reason"])
        for freeze in Freeze.objects.filter(owner=user, lifted_at=None).order_by("id"):
            self.stdout.write(f"{freeze.created_at:%Y-%m-%d %H:%M} {freeze.cause} {freeze.reason}")
