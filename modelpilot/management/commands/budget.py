from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.models import LowBalance
from billing.money import usd
from modelpilot.accounts.models import ApiKey
from modelpilot.jobs import budgets
from modelpilot.management import caps
from modelpilot.management.commands.key import account


class Command(BaseCommand):
    help = "Show what an account may spend a day and a month, and change it. Keys' own: key limit."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        caps.add_caps(parser)
        parser.add_argument("--low-balance", help="mail below this balance in USD, or none")

    def handle(self, *args: Any, **options: Any) -> None:
        user = account(options["email"])
        caps.put_caps(options, user.id)
        if options["low_balance"] is not None:
            threshold = caps.dollars("--low-balance", options["low_balance"])
            if threshold == 0:
                raise CommandError("--low-balance must be above 0, or none.")
            budgets.warn_below(user.id, threshold)
        names = dict(ApiKey.objects.filter(user=user).values_list("id", "name"))
        for budget in budgets.of_account(user.id):
            whose = "account" if budget.key is None else f"key {budget.key} ({names[budget.key]})"
            renewal = f"{budget.renews_at:%Y-%m-%d %H:%M} UTC"
            self.stdout.write(f"{whose}: {caps.line(budget)}, renews {renewal}")
        if low := LowBalance.objects.filter(owner=user).first():
            self.stdout.write(f"a mail below ${usd(low.threshold):.2f}")
