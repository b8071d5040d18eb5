from typing import Any

from django.core.management.base import BaseCommand

from modelpilot.fleet.node import NodeRunner


class Command(BaseCommand):
    help = "Run this machine's pods, as deployments and demand ask. One per machine."

    def handle(self, *args: Any, **options: Any) -> None:
        NodeRunner().run()
