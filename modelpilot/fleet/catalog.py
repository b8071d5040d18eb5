"""The catalog that this process works with, read once."""

from collections.abc import Mapping
from functools import cache

from django.conf import settings

from billing import pricing
from billing.pricing import Price
from inference import catalog
from inference.catalog import PARTS, Card, Catalog
from inference.errors import CatalogError


@cache
def cards() -> Catalog:
    """Our cards and the operator's; raises `inference.errors.CatalogError` naming the mistake."""
    read = catalog.load(settings.CATALOGS)
    for card in read.cards.values():
        try:
            price_of(card)
        except ValueError as error:
            raise CatalogError(f"card {card.id}: price: {error}") from error
    return read


def price_of(card: Card, instead: Mapping[str, int] | None = None) -> Price:
    """What the card says a request costs, or what an operator wants `instead`.

    `instead` are parts in micro-dollars (see `Price.as_json`). ValueError for what has no sense,
    or none for this kind of model.
    """
    named = pricing.parse(card.price) if instead is None else dict(instead)
    strange = named.keys() - {"request", *PARTS[card.kind]}
    if strange:
        possible = ", ".join(("request", *PARTS[card.kind]))
        raise ValueError(f"{min(strange)} is no part of {card.id}'s price; there are {possible}.")
    drawn = {name: int(bounds.default) for name, bounds in card.parameters.items()}
    if "megapixels" in named:
        named["base_pixels"] = drawn["width"] * drawn["height"]
    if "steps" in named:
        named["base_steps"] = drawn["steps"]
    return Price.from_json(named)
