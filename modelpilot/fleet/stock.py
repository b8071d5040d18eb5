"""Every model of the catalog as an operator wants to see it, deployed or not.

Looks at files and tables only, and asks nobody else: what the hub has is found out when somebody
deploys a model that it shall come from.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings

from billing.prices import in_force
from billing.pricing import Price
from inference import engines, weights
from inference.catalog import Card
from inference.errors import InferenceError
from modelpilot.fleet import facts, machine, overview
from modelpilot.fleet.catalog import cards, price_of
from modelpilot.fleet.machine import Device
from modelpilot.fleet.models import Deployment
from modelpilot.fleet.overview import DeploymentView, DeviceView


class Weights(StrEnum):
    """Where a card's files are; `NONE`: it needs none."""

    NONE = "none"
    HERE = "here"
    HUB = "downloadable"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class ModelView:
    """A card, what it costs now, and what is in the way of serving it (`obstacle`, a sentence).

    `looked` are the places where weights that are not here were looked for.
    """

    card: Card
    price: Price
    changed: bool
    obstacle: str | None
    weights: Weights
    looked: list[str]
    deployment: DeploymentView | None

    @property
    def deployable(self) -> bool:
        return self.obstacle is None and self.weights != Weights.MISSING


@dataclass(frozen=True, slots=True)
class Stock:
    """`gone` are deployments whose cards are in the catalog no longer."""

    models: list[ModelView]
    gone: list[DeploymentView]
    devices: list[DeviceView]


def take() -> Stock:
    """All models in the catalog's order, and all devices; reads each table once."""
    now = facts.gather()
    served = overview.views(list(Deployment.objects.order_by("model")), now)
    deployed = {view.model: view for view in served}
    there = [*machine.devices(), *(device for _, device in facts.found_devices(now.nodes))]
    prices = in_force()
    known = cards().cards
    return Stock(
        models=[
            seen(card, there, price_of(card, prices.get(card.id)), deployed.get(card.id))
            for card in known.values()
        ],
        gone=[view for view in served if view.model not in known],
        devices=overview.devices(now.nodes, now.rows),
    )


def seen(
    card: Card, there: Collection[Device], price: Price, deployment: DeploymentView | None
) -> ModelView:
    where, looked = whereabouts(card)
    return ModelView(
        card=card,
        price=price,
        changed=price != price_of(card),
        obstacle=engines.installed(card) or machine.too_small_for(card, there),
        weights=where,
        looked=looked,
        deployment=deployment,
    )


def whereabouts(card: Card) -> tuple[Weights, list[str]]:
    """Where the card's files are; if not here, where they were looked for."""
    if not card.files:
        return Weights.NONE, []
    try:
        weights.find(card, settings.MODELS, settings.CACHE)
    except InferenceError as error:
        looked = getattr(error, "looked", None) or [error.message]
        there = weights.named_on_hub(card, settings.MODELS, settings.CACHE)
        return (Weights.HUB if there else Weights.MISSING), looked
    return Weights.HERE, []
