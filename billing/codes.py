"""Redeem codes: credit for whoever knows one, where no money comes through Stripe."""

import hashlib
import hmac
import secrets
import uuid
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from billing import ledger
from billing.models import Account, RedeemCode

PREFIX = "MP"
# Crockford's base32: no letter looks like another, and none is missed in a spoken code.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LOOKALIKES = str.maketrans("OIL", "011")
# 80 random bits: not to be guessed at any rate.
LENGTH, GROUP = 16, 4


class InvalidCode(Exception):
    """There is no such code, or not any more; which of them is nobody's business."""


class AlreadyRedeemed(Exception):
    """This account has had the credit of this code."""


def create(
    amount: int, *, uses: int = 1, expires_at: datetime | None = None, note: str = ""
) -> str:
    """A new code for `amount` micro-dollars each of `uses` times; seen only now."""
    text = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    RedeemCode.objects.create(
        digest=digest(text),
        last_four=text[-4:],
        amount=amount,
        uses_max=uses,
        expires_at=expires_at,
        note=note[:200],
    )
    groups = [text[start : start + GROUP] for start in range(0, LENGTH, GROUP)]
    return "-".join([PREFIX, *groups])


def plain(code: str) -> str:
    """A code as it is kept, however its reader has written it."""
    text = "".join(code.upper().replace("-", " ").split())
    if len(text) > LENGTH:
        text = text.removeprefix(PREFIX)
    return text.translate(LOOKALIKES)


def digest(text: str) -> bytes:
    pepper = hmac.digest(settings.SECRET_KEY.encode(), b"modelpilot redeem codes", hashlib.sha256)
    return hmac.digest(pepper, text.encode(), hashlib.sha256)


def usable() -> QuerySet[RedeemCode]:
    alive = Q(expires_at=None) | Q(expires_at__gt=Now())
    return RedeemCode.objects.filter(alive, revoked_at=None, uses__lt=F("uses_max"))


def redeem(owner_id: int, code: str) -> int:
    """Give the account the credit of a code; micro-dollars.

    Raises InvalidCode and AlreadyRedeemed; then nothing was written.
    """
    text = plain(code)
    found = RedeemCode.objects.filter(digest=digest(text)).first()
    if found is None:
        raise InvalidCode
    try:
        with transaction.atomic():
            # Counted in one step with the limit: a last use goes to one of two.
            if not usable().filter(id=found.id).update(uses=F("uses") + 1):
                raise InvalidCode
            ledger.credit(
                owner_id,
                found.amount,
                Account.Code.BONUS_EXPENSE,
                code="code",
                ref=f"{found.id}:{owner_id}",
                note=f"code …{found.last_four}",
            )
    except IntegrityError:
        raise AlreadyRedeemed from None
    return found.amount


def revoke(code_id: uuid.UUID) -> bool:
    """End a code; false where there is none that lives."""
    alive = RedeemCode.objects.filter(id=code_id, revoked_at=None)
    return bool(alive.update(revoked_at=Now()))
