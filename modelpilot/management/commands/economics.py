from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.money import usd
from modelpilot.fleet import economics
from modelpilot.fleet.economics import Row


class Command(BaseCommand):
    help = "What models earned and what their pods' time cost, by day (UTC), in USD."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=30, help="(default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["days"] <= 3660:
            raise CommandError("--days takes 1 to 3660.")
        rows = economics.rows(options["days"])
        self.stdout.write(
            f"{'day':<10}  {'model':<24} {'requests':>9} {'device hours':>12} {'revenue':>12} "
            f"{'cost':>12} {'margin':>12}"
        )
        for row in rows:
            self.stdout.write(line(str(row.day), row.model, [row]))
        self.stdout.write(line("together", "", rows))
        if not settings.DEVICE_HOUR_COST:
            self.stdout.write(
                "MODELPILOT_DEVICE_HOUR_COST is not set, so devices cost nothing here: "
                "say, for example, cpu=0.05,NVIDIA H200=3.50."
            )


def line(day: str, model: str, rows: list[Row]) -> str:
    hours = sum(row.device_seconds for row in rows) / 3600
    revenue, cost = sum(row.revenue for row in rows), sum(row.cost for row in rows)
    return (
        f"{day:<10}  {model:<24} {sum(row.requests for row in rows):>9} {hours:>12.2f} "
        f"{usd(revenue):>12.6f} {usd(cost):>12.6f} {usd(revenue - cost):>12.6f}"
    )
