"""Prices that an operator sets instead of the cards', each from a moment on."""

from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from billing.models import PriceChange
from billing.pricing import Price


def in_force() -> dict[str, dict[str, int]]:
    """The parts (micro-dollars) by model, of those that cost something else than their cards say.

    Requests ask for their own model's only: see `billing.sql.PRICE_IN_FORCE`.
    """
    latest = (
        PriceChange.objects.filter(starts_at__lte=Now(), cancelled_at=None)
        .order_by("model", "-starts_at", "-id")
        .distinct("model")
    )
    return {change.model: change.price for change in latest if change.price is not None}


def change(
    model: str,
    price: Mapping[str, int] | None,
    *,
    reason: str,
    starts_at: datetime | None = None,
    by: int | None = None,
) -> PriceChange:
    """From `starts_at` (now) on, `model` costs `price` (see `Price.as_json`); None: its card's.

    Jobs keep the price at which they were accepted. ValueError for a price that can't be, or a
    start in the past. `by` is the id of a user; None: a command on the operator's machine.
    """
    parts = None if price is None else Price.from_json(price).as_json()
    made = PriceChange(model=model, price=parts, reason=reason[:200], created_by_id=by)
    if starts_at is not None:
        made.starts_at = starts_at
    try:
        # The database's clock decides.
        with transaction.atomic():
            made.save()
    except IntegrityError:
        raise ValueError("A price can't start in the past: what was charged stays.") from None
    return made


def cancel(change_id: int, *, by: int | None = None) -> bool:
    """Undo a change that has not started; whether there was one."""
    waiting = PriceChange.objects.filter(id=change_id, starts_at__gt=Now(), cancelled_at=None)
    return bool(waiting.update(cancelled_at=Now(), cancelled_by_id=by))
