from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from billing import ledger
from billing.money import usd
from modelpilot.accounts.models import User

# Every move of the spending account, with what was on it afterwards. An operator's question:
# it reads the whole history.
MOVES = """
SELECT to_char(created_at, 'YYYY-MM-DD HH24:MI:SS'), code, moved, sum(moved) OVER (ORDER BY id),
       ref, note
FROM (
    SELECT transfer.*, CASE WHEN credit_id = account.id THEN amount ELSE -amount END AS moved
    FROM billing_transfer transfer
    JOIN billing_account account ON account.id IN (transfer.debit_id, transfer.credit_id)
    WHERE account.owner_id = %s AND account.code = 'user' AND kind IN ('single', 'post')
) AS moves
ORDER BY id
"""


class Command(BaseCommand):
    help = "An account's moves of money with the running balance, oldest first, in USD."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(email=options["email"].lower()).first()
        if user is None:
            raise CommandError(f"There is no account {options['email']!r}.")
        self.stdout.write(f"{'when (UTC)':<19} {'what':<16} {'moved':>14} {'balance':>14} about")
        with connection.cursor() as cursor:
            cursor.execute(MOVES, [user.id])
            for at, code, moved, balance, ref, note in cursor:
                self.stdout.write(
                    f"{at} {code:<16} {usd(moved):>+14.6f} {usd(int(balance)):>14.6f} "
                    f"{ref} {note}".rstrip()
                )
        now = ledger.balance(user.id)
        self.stdout.write(
            f"{user.email}: balance ${usd(now.balance):g}, held ${usd(now.held):g}, "
            f"debt ${usd(now.debt):g}{', frozen' if now.frozen else ''}"
        )
