from typing import Any

from modelpilot.management.commands import up


class Command(up.Command):
    help = "What `up` does before it starts anything: migrations, first account, deployments."

    def handle(self, **options: Any) -> None:
        self.prepare()
