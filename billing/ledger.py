"""Opening accounts, reading balances, moving money in and out, proving the books."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from billing import sql
from billing.models import Account, Freeze, Transfer
from billing.money import usd

SYSTEM = [code for code in Account.Code if code not in (Account.Code.USER, Account.Code.USER_DEBT)]


@dataclass(frozen=True, slots=True)
class Balance:
    """Micro-dollars: what is owned, what running jobs hold of it, what can be spent, and what
    is owed because money was taken back that had been spent."""

    balance: int
    held: int
    debt: int = 0
    frozen: bool = False
    budgeted: bool = False

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
    """What the user has; two rows by index at most, whatever the history's length."""
    rows = {
        account.code: account
        for account in Account.objects.filter(
            owner_id=owner_id, code__in=(Account.Code.USER, Account.Code.USER_DEBT)
        )
    }
    user, debt = rows.get(Account.Code.USER), rows.get(Account.Code.USER_DEBT)
    if user is None:
        return Balance(0, 0)
    return Balance(
        user.credits_posted - user.debits_posted,
        user.debits_pending,
        0 if debt is None else debt.debits_posted - debt.credits_posted,
        user.frozen,
        user.budgeted,
    )


def grant(owner_id: int, amount: int, *, ref: str, reason: str) -> Transfer:
    """Give a user `amount` micro-dollars, paid by `bonus_expense`; a debt is repaid of it first.

    `ref` names the grant: a second one under the same name raises IntegrityError and
    gives nothing.
    """
    return credit(owner_id, amount, Account.Code.BONUS_EXPENSE, code="grant", ref=ref, note=reason)


@transaction.atomic
def credit(
    owner_id: int, amount: int, source: Account.Code, *, code: str, ref: str, note: str = ""
) -> Transfer:
    """Move `amount` from one of the system's accounts to a user, and repay the user's debt of it.

    Raises IntegrityError where (code, ref) was booked before; then nothing was written.
    """
    user = locked(owner_id)
    transfer = move(system(source), user, amount, code=code, ref=ref, note=note)
    repay(user)
    return transfer


@transaction.atomic
def take(
    owner_id: int, amount: int, to: Account.Code, *, code: str, ref: str, note: str = ""
) -> None:
    """Take `amount` back from a user: from what can be spent as far as it goes, else as debt.

    Held money stays with its jobs. Raises IntegrityError where (code, ref) was booked before.
    """
    user = locked(owner_id)
    target = system(to)
    covered = min(amount, available(user))
    if covered:
        partly = f"of ${usd(amount):g}, the rest is owed" if covered < amount else ""
        words = ", ".join(filter(None, [note, partly]))
        move(user, target, covered, code=code, ref=ref, note=words)
    if covered < amount:
        owed, _ = Account.objects.get_or_create(owner_id=owner_id, code=Account.Code.USER_DEBT)
        move(owed, target, amount - covered, code=f"{code}_debt", ref=ref, note=note)


@transaction.atomic
def collect(owner_id: int) -> int:
    """Repay a user's debt from what came free since, as when a held price was released."""
    return repay(locked(owner_id))


def collect_all() -> int:
    """`collect` for everybody who owes and has; micro-dollars that were repaid."""
    owing = Account.objects.filter(
        code=Account.Code.USER_DEBT, debits_posted__gt=F("credits_posted")
    )
    return sum(collect(owner) for owner in owing.values_list("owner_id", flat=True) if owner)


def repay(user: Account) -> int:
    """Of the locked account `user`; micro-dollars."""
    owed = owing(user)
    if owed is None:
        return 0
    amount = min(owed.debits_posted - owed.credits_posted, available(user))
    if amount:
        move(user, owed, amount, code="repayment", ref=str(uuid.uuid4()))
    return amount


def owing(user: Account) -> Account | None:
    """The debt of the locked account `user`, where it owes something."""
    return Account.objects.filter(
        owner_id=user.owner_id,
        code=Account.Code.USER_DEBT,
        debits_posted__gt=F("credits_posted"),
    ).first()


@transaction.atomic
def write_off(owner_id: int, *, reason: str) -> int:
    """Give up what a user owes as lost, all of it; micro-dollars."""
    owed = owing(locked(owner_id))
    if owed is None:
        return 0
    amount = owed.debits_posted - owed.credits_posted
    loss = system(Account.Code.DISPUTE_LOSS)
    move(loss, owed, amount, code="write_off", ref=str(uuid.uuid4()), note=reason)
    return amount


def locked(owner_id: int) -> Account:
    """The user's spending account, nobody else's to change until the transaction's end.

    Whoever holds it may change the user's debt too.
    """
    open_account(owner_id)
    return Account.objects.select_for_update().get(owner_id=owner_id, code=Account.Code.USER)


def available(user: Account) -> int:
    return user.credits_posted - user.debits_posted - user.debits_pending


def system(code: Account.Code) -> Account:
    return Account.objects.get(owner=None, code=code)


def move(
    debit: Account, credit: Account, amount: int, *, code: str, ref: str, note: str = ""
) -> Transfer:
    """Book one transfer, and count it on those of its accounts that have an owner.

    The owned accounts must be locked; they are changed here as in the database.
    """
    transfer = Transfer.objects.create(
        debit=debit,
        credit=credit,
        amount=amount,
        code=code,
        ref=ref,
        kind=Transfer.Kind.SINGLE,
        note=note[:200],
    )
    for account, counter in ((debit, "debits_posted"), (credit, "credits_posted")):
        if account.owner_id is not None:
            Account.objects.filter(id=account.id).update(**{counter: F(counter) + amount})
            setattr(account, counter, getattr(account, counter) + amount)
    return transfer


def freeze(owner_id: int, *, cause: str, reason: str) -> None:
    """Let the user submit nothing until `cause` is lifted; a known cause changes nothing."""
    with transaction.atomic():
        user = locked(owner_id)
        Freeze.objects.get_or_create(
            cause=cause, defaults={"owner_id": owner_id, "reason": reason[:200]}
        )
        mark_frozen(user)


def unfreeze(owner_id: int, *, cause: str | None = None) -> int:
    """Lift one freeze of a user, or all of them; how many were in force."""
    with transaction.atomic():
        user = locked(owner_id)
        freezes = Freeze.objects.filter(owner_id=owner_id, lifted_at=None)
        if cause is not None:
            freezes = freezes.filter(cause=cause)
        lifted = freezes.update(lifted_at=Now())
        mark_frozen(user)
    return lifted


def freezes(owner_id: int) -> list[Freeze]:
    """Why a user may submit nothing, oldest first; empty for most."""
    return list(Freeze.objects.filter(owner_id=owner_id, lifted_at=None).order_by("created_at"))


def mark_frozen(user: Account) -> None:
    user.frozen = Freeze.objects.filter(owner_id=user.owner_id, lifted_at=None).exists()
    user.save(update_fields=["frozen"])


def problems(extra_proof: str = "") -> list[str]:
    """What is wrong with the books, a sentence each; always empty.

    `extra_proof` is SQL that returns sentences too, read in the same snapshot.
    """
    query = sql.BOOKS + (f" UNION ALL {extra_proof}" if extra_proof else "")
    with connection.cursor() as cursor:
        cursor.execute(query)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return [str(problem) for (problem,) in rows]
