import uuid
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import ledger, payments, reversals
from billing.money import micros, usd
from modelpilot.accounts import credit


class Command(BaseCommand):
    help = "Refund a purchase through Stripe, all of it or a part; a bonus is taken back first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("purchase", type=uuid.UUID)
        parser.add_argument("--amount", help="USD, for example 5.00 (default: all of it)")
        parser.add_argument("--reason", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        if not payments.configured():
            raise CommandError("There is no STRIPE_SECRET_KEY, so nothing can be refunded.")
        try:
            reversal = credit.refund(
                options["purchase"], self.amount(options["amount"]), reason=options["reason"]
            )
        except reversals.NotRefundable as error:
            raise CommandError(str(error)) from None
        except payments.Refused as error:
            raise CommandError(f"Stripe refuses; the credit is back: {error}") from None
        except payments.Unavailable as error:
            raise CommandError(
                f"Stripe does not answer ({error}). The credit is taken, and `manage.py "
                "reconcile` asks again, each hour by itself."
            ) from None
        left = ledger.balance(reversal.purchase.owner_id).available
        self.stdout.write(
            f"${usd(reversal.amount):.2f} are refunded ({reversal.stripe_id}). "
            f"The account has ${usd(left):.2f} available."
        )

    def amount(self, text: str | None) -> int | None:
        try:
            return None if text is None else micros(Decimal(text))
        except (InvalidOperation, ValueError):
            raise CommandError(f"--amount takes an amount in USD, not {text!r}.") from None
