"""What operators do with an account's money and codes: the ledger's verbs, each written down."""

import uuid
from datetime import datetime

from django.db import transaction

from billing import codes, ledger, payments, reversals
from billing.models import Reversal, Transfer
from billing.money import usd
from modelpilot.accounts import audit
from modelpilot.accounts.models import User


@transaction.atomic
def grant(user: User, amount: int, *, reason: str) -> Transfer:
    """Give the account `amount` micro-dollars."""
    transfer = ledger.grant(user.id, amount, ref=f"grant:{uuid.uuid4()}", reason=reason)
    audit.record("credit.grant", user, usd=usd(amount), reason=reason)
    return transfer


@transaction.atomic
def freeze(user: User, *, reason: str) -> None:
    """Let the account start nothing until its freezes are lifted."""
    ledger.freeze(user.id, cause=f"operator:{uuid.uuid4()}", reason=reason)
    audit.record("account.freeze", user, reason=reason)


@transaction.atomic
def unfreeze(user: User) -> int:
    """Lift every freeze, also disputes'; how many were in force."""
    lifted = ledger.unfreeze(user.id)
    audit.record("account.unfreeze", user, freezes=lifted)
    return lifted


@transaction.atomic
def write_off(user: User, *, reason: str) -> int:
    """Give up what the account owes; micro-dollars, 0 where that is nothing."""
    lost = ledger.write_off(user.id, reason=reason)
    if lost:
        audit.record("debt.write_off", user, usd=usd(lost), reason=reason)
    return lost


def refund(purchase_id: uuid.UUID, amount: int | None, *, reason: str) -> Reversal:
    """`reversals.refund`, with all that it raises. What Stripe has not answered is written down
    too: it may have been done."""
    wanted = None if amount is None else usd(amount)
    try:
        reversal = reversals.refund(purchase_id, amount, reason)
    except payments.Unavailable:
        audit.record(
            "purchase.refund",
            f"purchase {purchase_id}",
            usd=wanted,
            reason=reason,
            unanswered=True,
        )
        raise
    # Behind the deed, which is Stripe's too: it can't be in one transaction with ours.
    audit.record(
        "purchase.refund",
        f"purchase {reversal.purchase_id}",
        usd=usd(reversal.amount),
        reason=reason,
    )
    return reversal


@transaction.atomic
def make_codes(
    amount: int, *, count: int, uses: int, expires_at: datetime | None, note: str
) -> list[str]:
    """Redeem codes for `amount` micro-dollars each use; seen only now."""
    audit.record("code.create", f"{count} redeem codes", usd=usd(amount), uses=uses, note=note)
    return [codes.create(amount, uses=uses, expires_at=expires_at, note=note) for _ in range(count)]


@transaction.atomic
def revoke_code(code_id: uuid.UUID) -> bool:
    """End a code; false where there is none that lives."""
    revoked = codes.revoke(code_id)
    if revoked:
        audit.record("code.revoke", f"redeem code {code_id}")
    return revoked
