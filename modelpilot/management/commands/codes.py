import uuid
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing.models import RedeemCode
from billing.money import micros, usd
from modelpilot.accounts import credit


class Command(BaseCommand):
    help = "Redeem codes: create one (shown only then), list them, revoke one."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="what", required=True)
        create = commands.add_parser("create")
        create.add_argument("amount", help="USD for each use, for example 5.00")
        create.add_argument("--uses", type=int, default=1, help="accounts that may redeem it")
        create.add_argument("--days", type=int, help="until it is over (default: never)")
        create.add_argument("--count", type=int, default=1, help="codes to make")
        create.add_argument("--note", default="")
        commands.add_parser("list")
        commands.add_parser("revoke").add_argument("id", type=uuid.UUID)

    def handle(self, *args: Any, **options: Any) -> None:
        {"create": self.create, "list": self.show, "revoke": self.revoke}[options["what"]](options)

    def create(self, options: dict[str, Any]) -> None:
        try:
            amount = micros(Decimal(options["amount"]))
        except (InvalidOperation, ValueError):
            amount = 0
        if amount <= 0:
            raise CommandError(f"The amount is in USD, like 5.00, not {options['amount']!r}.")
        if not 1 <= options["uses"] <= 1_000_000 or not 1 <= options["count"] <= 10_000:
            raise CommandError("--uses takes 1 to 1000000, --count 1 to 10000.")
        days = options["days"]
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("--days takes 1 to 36500.")
        expires_at = None if days is None else timezone.now() + timedelta(days=days)
        made = credit.make_codes(
            amount,
            count=options["count"],
            uses=options["uses"],
            expires_at=expires_at,
            note=options["note"],
        )
        self.stdout.write("\n".join(made))

    def show(self, options: dict[str, Any]) -> None:
        for code in RedeemCode.objects.order_by("created_at"):
            self.stdout.write(
                f"{code.id} …{code.last_four} ${usd(code.amount):.2f} "
                f"{code.uses}/{code.uses_max} {self.state(code)} {code.note}".rstrip()
            )

    def state(self, code: RedeemCode) -> str:
        if code.revoked_at is not None:
            return "revoked"
        if code.expires_at is not None and code.expires_at <= timezone.now():
            return "over"
        if code.uses >= code.uses_max:
            return "used up"
        return "open" if code.expires_at is None else f"until {code.expires_at:%Y-%m-%d}"

    def revoke(self, options: dict[str, Any]) -> None:
        if not credit.revoke_code(options["id"]):
            raise CommandError("There is no such code that can still be redeemed.")
        self.stdout.write("Revoked. What was redeemed stays.")
