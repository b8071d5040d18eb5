import sys
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from modelpilot.fleet import machine, pod
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.models import Pod


class Command(BaseCommand):
    help = "Be one pod: load one model and work for it. Started by `node`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pod", type=uuid.UUID)

    def handle(self, *args: Any, **options: Any) -> None:
        row = Pod.objects.select_related("deployment").get(id=options["pod"])
        known = cards().cards[row.deployment.model]
        card = known.way(row.engine, machine.kind(row.devices), len(row.devices))
        sys.exit(pod.run(row.id, card))
