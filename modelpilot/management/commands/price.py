from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from billing import pricing
from billing.models import PriceChange
from billing.prices import in_force
from modelpilot.fleet import prices
from modelpilot.fleet.catalog import cards, price_of


class Command(BaseCommand):
    help = "What models cost: list it, set it instead of a card's price, cancel what is to come."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="show what models cost now, and every change made or to come")
        change = verbs.add_parser("set", help="change a price; jobs that are accepted keep theirs")
        change.add_argument("model")
        change.add_argument(
            "price", nargs="*", help="USD for a request (0.002), or for parts (input_tokens=0.05 …)"
        )
        change.add_argument("--card", action="store_true", help="what the card says, again")
        change.add_argument("--from", dest="starts", help="when, such as 2026-12-01T00:00 (UTC)")
        change.add_argument("--reason", required=True, help="why, for the record")
        cancel = verbs.add_parser("cancel", help="undo a change that has not started")
        cancel.add_argument("id", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        {"list": self.show, "set": self.change, "cancel": self.cancel}[options["verb"]](options)

    def show(self, options: dict[str, Any]) -> None:
        now = in_force()
        for card in cards().cards.values():
            by = " (changed)" if card.id in now else ""
            self.stdout.write(f"{card.id}  {price_of(card, now.get(card.id))}{by}")
        changes = PriceChange.objects.order_by("starts_at", "id")
        if changes:
            self.stdout.write("Changes:")
        for change in changes:
            self.stdout.write(f"  {line(change)}")

    def change(self, options: dict[str, Any]) -> None:
        card = cards().find(options["model"])
        if card is None:
            raise CommandError(f"There is no model {options['model']!r} in the catalog.")
        if bool(options["price"]) == options["card"]:
            raise CommandError("Say a price, or --card.")
        try:
            price = None if options["card"] else prices.parts_of(options["price"])
            change = prices.change(
                card, price, reason=options["reason"], starts_at=moment(options["starts"])
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(line(change))

    def cancel(self, options: dict[str, Any]) -> None:
        if not prices.cancel(options["id"]):
            raise CommandError(
                "There is no such change that has not started. Set another price instead."
            )
        self.stdout.write("Cancelled.")


def moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    found = parse_datetime(text if len(text) > len("2026-12-01") else f"{text}T00:00")
    if found is None:
        raise ValueError(f"--from takes a moment such as 2026-12-01T00:00, not {text!r}.")
    return found if timezone.is_aware(found) else timezone.make_aware(found)


def line(change: PriceChange) -> str:
    price = "as its card says"
    if change.price is not None:
        price = str(pricing.Price.from_json(change.price))
    who = change.created_by.email if change.created_by else "manage.py"
    cancelled = f", cancelled {change.cancelled_at:%Y-%m-%d %H:%M}" if change.cancelled_at else ""
    return (
        f"{change.id}  {change.model}  {price}  from {change.starts_at:%Y-%m-%d %H:%M:%S} UTC  "
        f"by {who}: {change.reason}{cancelled}"
    )
