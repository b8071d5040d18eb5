from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email

from billing import ledger
from billing.money import micros, usd
from modelpilot.accounts import audit, credit, keys
from modelpilot.accounts.models import Permission, User
from modelpilot.management.commands.key import permissions_of


class Command(BaseCommand):
    help = "Make an account, or find it, and give it a new key (the last line) and credit."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--credit", default="0", help="USD to grant, for example 5.00")
        parser.add_argument("--staff", action="store_true", help="an operator: may do everything")
        parser.add_argument(
            "--permissions",
            default=",".join(Permission.values),
            help="what the key may do (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        permissions = permissions_of(options["permissions"])
        # It may be the first thing that anybody does with this data directory.
        call_command("migrate", verbosity=0, interactive=False)
        granted = self.amount(options["credit"])
        user = self.account(options["email"].lower(), options["staff"])
        if granted:
            credit.grant(user, granted, reason="manage.py account")
        balance = ledger.balance(user.id)
        self.stdout.write(f"{user.email} has ${usd(balance.available):.2f}. Its new key:")
        self.stdout.write(keys.create(user, name="manage.py", permissions=permissions))

    def account(self, email: str, staff: bool) -> User:
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError(f"{email!r} is not an e-mail address.") from None
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User.objects.create_user(email)
        if staff and not user.is_staff:
            user.is_staff = user.is_superuser = user.can_deploy = True
            user.save(update_fields=["is_staff", "is_superuser", "can_deploy"])
            audit.record("account.role", user, is_staff=True, is_superuser=True, can_deploy=True)
        ledger.open_account(user.id)
        return user

    def amount(self, text: str) -> int:
        try:
            amount = micros(Decimal(text))
        except (InvalidOperation, ValueError):
            raise CommandError(f"--credit takes an amount in USD, not {text!r}.") from None
        if amount < 0:
            raise CommandError("--credit can't be negative.")
        return amount
