from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from modelpilot.accounts import registration
from modelpilot.accounts.models import User


class Command(BaseCommand):
    help = "Say or change who may make an account, and approve those who wait."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "mode",
            nargs="?",
            choices=registration.Mode.values,
            help="open: everybody; approval: everybody, once you approved; invite: who has a link",
        )
        parser.add_argument("--approve", metavar="EMAIL", help="let somebody in who waits")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["mode"]:
            registration.change(registration.Mode(options["mode"]))
        if options["approve"]:
            self.approve(options["approve"].lower())
        mode = registration.mode()
        self.stdout.write(f"{mode}: {mode.label}.")
        for user in User.objects.filter(waiting=True).order_by("id")[:100]:
            self.stdout.write(f"waiting since {user.created_at:%Y-%m-%d %H:%M}: {user.email}")

    def approve(self, email: str) -> None:
        user = User.objects.filter(email=email, waiting=True).first()
        if user is None:
            raise CommandError(f"Nobody waits with the address {email!r}.")
        registration.approve(user)
