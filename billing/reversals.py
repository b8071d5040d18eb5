"""Money that goes back: refunds of ours, refunds made at Stripe, and disputes.

The bonus goes first: it is not refundable, and taken back with the first reversal of its
purchase. Whatever the balance doesn't cover becomes debt, repaid first from later credit.
"""

import logging
import uuid

from django.db import transaction
from django.db.models import F

from billing import ledger, payments
from billing.models import Account, Freeze, Purchase, Reversal
from billing.money import usd
from billing.payments import Dispute, Payment, Refund

log = logging.getLogger(__name__)

Stage = Reversal.Stage
CENT = payments.MICROS_PER_CENT


class NotRefundable(Exception):
    """The message says why, and how much is."""


def refund(purchase_id: uuid.UUID, amount: int | None = None, note: str = "") -> Reversal:
    """Send `amount` micro-dollars of a purchase back to who paid, or all that is left of it.

    The credit is taken first, so it can't be spent meanwhile; then Stripe is asked. Raises
    NotRefundable, payments.Refused (the credit is back then) and payments.Unavailable (it is
    asked again by the reconciler).
    """
    with transaction.atomic():
        purchase = Purchase.objects.select_for_update().filter(id=purchase_id).first()
        if purchase is None:
            raise NotRefundable("There is no such purchase.")
        reversal = Reversal.objects.create(
            purchase=purchase,
            kind=Reversal.Kind.REFUND,
            amount=refundable(purchase, amount),
            note=note[:200],
        )
        take(purchase, reversal)
    send(reversal)
    return reversal


def refundable(purchase: Purchase, amount: int | None) -> int:
    """The amount to refund, if it may be; the bonus is gone before anything is paid out."""
    if purchase.state != Purchase.State.PAID:
        raise NotRefundable(f"This purchase is {purchase.state}; only a paid one is refunded.")
    user = ledger.locked(purchase.owner_id)
    paid = purchase.amount - standing(purchase)
    bonus = 0 if purchase.bonus_taken else purchase.bonus
    most = max(0, min(paid, ledger.available(user) - bonus)) // CENT * CENT
    wanted = paid if amount is None else amount
    if wanted <= 0 and amount is not None:
        raise NotRefundable("A refund must be more than nothing.")
    if wanted % CENT:
        raise NotRefundable("A refund must be of whole cents.")
    if wanted > most or not wanted:
        raise NotRefundable(
            f"At most ${usd(most):.2f} of it can be refunded: ${usd(purchase.amount):.2f} were "
            f"paid, ${usd(purchase.amount - paid):.2f} went back already, and the account has "
            f"${usd(ledger.available(user)):.2f} available, of which ${usd(bonus):.2f} are the "
            "bonus, which is not refundable."
        )
    return wanted


def standing(purchase: Purchase, *, sent: bool = False) -> int:
    """What of a purchase is reversed, in micro-dollars; `sent`: only what Stripe knows of."""
    taken = purchase.reversals.filter(stage=Stage.TAKEN)
    if sent:
        taken = taken.exclude(stripe_id=None)
    return sum(taken.values_list("amount", flat=True))


def send(reversal: Reversal) -> None:
    """Ask Stripe for one of our refunds; asking twice refunds once."""
    intent = reversal.purchase.intent
    assert intent is not None
    try:
        stripe_id = payments.create_refund(reversal, intent)
    except payments.Refused as refusal:
        with transaction.atomic():
            purchase = Purchase.objects.select_for_update().get(id=reversal.purchase_id)
            reversal.refresh_from_db()
            # Stripe's own word of it, by webhook, would have given it a Stripe id; and somebody
            # else may have asked and been refused at the same time.
            if reversal.stripe_id is None and reversal.stage == Stage.TAKEN:
                give_back(purchase, reversal, note=str(refusal))
        raise
    Reversal.objects.filter(id=reversal.id, stripe_id=None).update(stripe_id=stripe_id)
    reversal.stripe_id = stripe_id


def bring_up_to_date(purchase: Purchase, payment: Payment) -> None:
    """Book what Stripe says of the refunds and disputes of a locked purchase."""
    for dispute in payment.disputes:
        hold_still(purchase, dispute)
    if purchase.state != Purchase.State.PAID:
        return
    for refund in payment.refunds:
        advance(purchase, of_refund(purchase, refund), refund.stage)
    for dispute in payment.disputes:
        advance(purchase, of_dispute(purchase, dispute), dispute.stage)


def of_refund(purchase: Purchase, refund: Refund) -> Reversal:
    """The row of a refund: by Stripe's id, by ours in its metadata, else a new one."""
    found = purchase.reversals.filter(stripe_id=refund.id).first()
    if found is None and refund.reversal is not None:
        ours = str(refund.reversal)
        found = next((row for row in purchase.reversals.all() if str(row.id) == ours), None)
        if found is not None:
            found.stripe_id = refund.id
            found.save(update_fields=["stripe_id"])
    return found or Reversal.objects.create(
        purchase=purchase,
        kind=Reversal.Kind.REFUND,
        amount=refund.amount,
        stripe_id=refund.id,
        note="made at Stripe",
    )


def of_dispute(purchase: Purchase, dispute: Dispute) -> Reversal:
    row, _ = Reversal.objects.get_or_create(
        stripe_id=dispute.id,
        defaults={
            "purchase": purchase,
            "kind": Reversal.Kind.DISPUTE,
            "amount": dispute.amount,
            "note": dispute.reason[:200],
        },
    )
    return row


def hold_still(purchase: Purchase, dispute: Dispute) -> None:
    """An account with an open or lost dispute is frozen; after a lost one an operator decides."""
    cause = f"dispute:{dispute.id}"
    known = Freeze.objects.filter(cause=cause).first()
    if known is None:
        ledger.freeze(
            purchase.owner_id,
            cause=cause,
            reason=f"A payment of ${usd(dispute.amount):g} was disputed at its bank "
            f"({dispute.reason}). Once that is won, or the operator says so, it is free again.",
        )
    if dispute.won and (known is None or known.lifted_at is None):
        ledger.unfreeze(purchase.owner_id, cause=cause)


def advance(purchase: Purchase, reversal: Reversal, stage: Stage) -> None:
    if stage > reversal.stage:
        if stage == Stage.TAKEN:
            take(purchase, reversal)
        elif reversal.stage == Stage.TAKEN:
            give_back(purchase, reversal)
        else:
            set_stage(reversal, stage)


def take(purchase: Purchase, reversal: Reversal) -> None:
    """Bonus first, then the amount."""
    if purchase.bonus and not purchase.bonus_taken:
        ref = move_bonus(purchase, taken=True)
        ledger.take(
            purchase.owner_id,
            purchase.bonus,
            Account.Code.BONUS_EXPENSE,
            code="bonus_taken",
            ref=ref,
        )
    ledger.take(
        purchase.owner_id,
        reversal.amount,
        Account.Code.STRIPE_CLEARING,
        code=reversal.kind,
        ref=str(reversal.id),
        note=reversal.note,
    )
    set_stage(reversal, Stage.TAKEN)


def give_back(purchase: Purchase, reversal: Reversal, note: str = "") -> None:
    """The money stays with us after all: so does the credit with the account."""
    ledger.credit(
        purchase.owner_id,
        reversal.amount,
        Account.Code.STRIPE_CLEARING,
        code=f"{reversal.kind}_undone",
        ref=str(reversal.id),
        note=note,
    )
    set_stage(reversal, Stage.UNDONE, note)
    if purchase.bonus_taken and not standing(purchase):
        ref = move_bonus(purchase, taken=False)
        ledger.credit(
            purchase.owner_id,
            purchase.bonus,
            Account.Code.BONUS_EXPENSE,
            code="bonus_undone",
            ref=ref,
        )


def move_bonus(purchase: Purchase, *, taken: bool) -> str:
    """Notes where the bonus is now; the name of the transfer that moves it there."""
    Purchase.objects.filter(id=purchase.id).update(
        bonus_taken=taken, bonus_moves=F("bonus_moves") + 1
    )
    purchase.refresh_from_db(fields=["bonus_taken", "bonus_moves"])
    return f"{purchase.id}:{purchase.bonus_moves}"


def set_stage(reversal: Reversal, stage: Stage, note: str = "") -> None:
    reversal.stage = stage
    reversal.note = (note or reversal.note)[:200]
    reversal.save(update_fields=["stage", "note"])
