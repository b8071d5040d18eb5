"""Every model of the catalog as an operator wants to see it, deployed or not.

Looks at files and tables only, and asks nobody else: what the hub has is found out when somebody
deploys a model that it shall come from.
"""

from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings

from billing.prices import in_force
from billing.pricing import Price
from inference import weights
from inference.catalog import Card
from inference.errors import InferenceError
from inference.picking import ANY, Picked
from modelpilot.fleet import facts, machine, overview
from modelpilot.fleet.catalog import cards, price_of
from modelpilot.fleet.machine import Machines
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
    """A card, what it costs now, how it is run here (`picked`), and what is in the way of that.

    `looked` are the places where weights that are not here were looked for.
    """

    card: Card
    picked: Picked
    price: Price
    changed: bool
    weights: Weights
    looked: list[str]
    deployment: DeploymentView | None

    @property
    def deployable(self) -> bool:
        return self.picked.obstacle is None and self.weights != Weights.MISSING

    @property
    def engines(self) -> list[str]:
        """Those that can run it somewhere, in the card's order."""
        return list(dict.fromkeys(way.engine for way in self.card.ways))

    @property
    def numbers(self) -> list[int]:
        """On how many devices it can run somewhere."""
        return sorted({way.devices for way in self.card.ways})

    @property
    def others(self) -> list[tuple[Card, str]]:
        """The ways that can't be taken, and why; without the one that is shown anyway."""
        return [each for each in self.picked.passed if each[0] != self.picked.card]


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
    machines = [machine.devices(), *(facts.devices_found(node) for node in now.nodes)]
    prices = in_force()
    known = cards().cards
    return Stock(
        models=[
            seen(card, machines, price_of(card, prices.get(card.id)), deployed.get(card.id))
            for card in known.values()
        ],
        gone=[view for view in served if view.model not in known],
        devices=overview.devices(now.nodes, now.rows),
    )


def seen(
    card: Card, machines: Machines, price: Price, deployment: DeploymentView | None
) -> ModelView:
    picked = machine.pick(card, machines, ANY if deployment is None else deployment.chosen)
    where, looked = whereabouts(picked.card)
    return ModelView(
        card=card,
        picked=picked,
        price=price,
        changed=price != price_of(card),
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
