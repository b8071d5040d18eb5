"""Opening accounts, reading balances, granting credit, proving the books."""

from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from billing import sql
from billing.models import Account, Transfer

SYSTEM = [code for code in Account.Code if code not in (Account.Code.USER, Account.Code.USER_DEBT)]


@dataclass(frozen=True, slots=True)
class Balance:
    """Micro-dollars: what is owned, what running jobs hold of it, what can be spent."""

    balance: int
    held: int

    @property
    def available(self) -> int:
        return self.balance - self.held


def open_system_accounts() -> None:
    """Make the accounts that belong to nobody; does nothing where they exist."""
    for code in SYSTEM:
        Account.objects.get_or_create(owner=None, code=code)


def open_account(owner_id: int) -> Account:
    """The spending account of a user, made on first use."""
    account, _ = Account.objects.get_or_create(owner_id=owner_id, code=Account.Code.USER)
    return account


def balance(owner_id: int) -> Balance:
    """What the user has; one row by index, whatever the history's length."""
    row = (
        Account.objects.filter(owner_id=owner_id, code=Account.Code.USER)
        .values_list("credits_posted", "debits_posted", "debits_pending")
        .first()
    )
    if row is None:
        return Balance(0, 0)
    credits_posted, debits_posted, debits_pending = row
    return Balance(credits_posted - debits_posted, debits_pending)


def grant(owner_id: int, amount: int, *, ref: str, reason: str) -> Transfer:
    """Give a user `amount` micro-dollars, paid by `bonus_expense`.

    `ref` names the grant: a second one under the same name raises IntegrityError and
    gives nothing.
    """
    with transaction.atomic():
        account = open_account(owner_id)
        transfer = Transfer.objects.create(
            debit=Account.objects.get(owner=None, code=Account.Code.BONUS_EXPENSE),
            credit=account,
            amount=amount,
            code="grant",
            ref=ref,
            kind=Transfer.Kind.SINGLE,
            note=reason,
        )
        Account.objects.filter(id=account.id).update(credits_posted=F("credits_posted") + amount)
    return transfer


def problems(extra_proof: str = "") -> list[str]:
    """What is wrong with the books, a sentence each; always empty.

    `extra_proof` is SQL that returns sentences too, read in the same snapshot.
    """
    query = sql.BOOKS + (f" UNION ALL {extra_proof}" if extra_proof else "")
    with connection.cursor() as cursor:
        cursor.execute(query)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return [str(problem) for (problem,) in rows]
