"""An operator's changes of prices: checked against the model's card, made, and written down."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db import transaction

from billing import prices, pricing
from billing.models import PriceChange
from inference.catalog import Card
from modelpilot.accounts import audit
from modelpilot.fleet.catalog import price_of


def change(
    card: Card, price: Mapping[str, int] | None, *, reason: str, starts_at: datetime | None = None
) -> PriceChange:
    """From `starts_at` (now) on the model costs `price`, in micro-dollars by part; None: as its
    card says.

    Jobs that were accepted keep their price. ValueError for what is no price of this card, or a
    start in the past.
    """
    price_of(card, price)
    with transaction.atomic():
        made = prices.change(
            card.id, price, reason=reason, starts_at=starts_at, by=audit.acting.get().user_id
        )
        made.refresh_from_db()
        audit.record(
            "price.change",
            card.id,
            change=made.id,
            price=made.price,
            starts_at=made.starts_at.isoformat(),
            reason=made.reason,
        )
    return made


def parts_of(words: Iterable[str]) -> dict[str, int]:
    """Micro-dollars by part of what a person writes: `0.002` for a request, or `input_tokens=0.05
    output_tokens=0.1`. ValueError for what is no price."""
    named = [word.partition("=") if "=" in word else ("request", "", word) for word in words]
    return pricing.parse({name: amount for name, _, amount in named})


def cancel(change_id: int) -> bool:
    """Undo a change that has not started; whether there was one."""
    with transaction.atomic():
        cancelled = prices.cancel(change_id, by=audit.acting.get().user_id)
        if cancelled:
            audit.record("price.cancel", f"price change {change_id}")
    return cancelled
