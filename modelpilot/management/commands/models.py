from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from inference import weights
from inference.catalog import Card
from inference.errors import InferenceError
from modelpilot.fleet import machine
from modelpilot.fleet.catalog import cards, price_of


class Command(BaseCommand):
    help = "List the models: what they cost, whether they fit this machine, where they are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--table", action="store_true", help="print the table of README.md instead"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.machines = [machine.devices()]
        for card in cards().cards.values():
            if not options["table"]:
                self.describe(card)
        if options["table"]:
            self.stdout.write(table())

    def describe(self, card: Card) -> None:
        picked = machine.pick(card, self.machines)
        way = picked.card
        self.stdout.write(f"{card.id}  ({card.kind}, {way.engine}, {price_of(card)})")
        each = f" on each of {way.devices} GPUs" if way.devices > 1 else ""
        self.stdout.write(f"  {picked.obstacle or f'Fits: {way.memory_mb} MB{each}.'}")
        if card.variants:
            self.stdout.write(f"  Runs on {way.engine} ({where(way)}): {picked.why}.")
            for other, reason in picked.passed:
                if other != way:
                    self.stdout.write(f"  Not on {other.engine} ({where(other)}): {reason}")
        for line in whereabouts(way):
            self.stdout.write(f"  {line}")


def where(way: Card) -> str:
    """The kind of its devices, and how many where it is several."""
    kind = "GPU" if way.device == "cuda" else "CPU"
    return kind if way.devices == 1 else f"{way.devices} {kind}s"


def needs(way: Card) -> str:
    """Its memory, for the README."""
    amount = f"{way.memory_mb / 1000:.1f} GB {'GPU' if way.device == 'cuda' else 'RAM'}"
    return amount if way.devices == 1 else f"{way.devices} times {amount}"


def whereabouts(card: Card) -> list[str]:
    """Where each of the card's files is, or every place where one was looked for."""
    try:
        found = weights.find(card, settings.MODELS, settings.CACHE)
    except InferenceError as error:
        looked = getattr(error, "looked", [])
        return (
            ["Weights not here:", *(f"  {place}" for place in looked)] if looked else [str(error)]
        )
    return [f"{name}: {path}" for name, path in found.paths.items()] or ["Needs no weights."]


def table() -> str:
    """The model table of the README, in Markdown; a test fails when the README's is another."""
    rows = ["| model | kind | price | engine | licence | needs |", "|---|---|---|---|---|---|"]
    for card in cards().cards.values():
        wanted = ", or ".join(map(needs, card.ways))
        used = ", ".join(dict.fromkeys(way.engine for way in card.ways))
        price = price_of(card)
        rows.append(f"| `{card.id}` | {card.kind} | {price} | {used} | {card.licence} | {wanted} |")
    return "\n".join(rows)
