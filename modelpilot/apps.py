from django.apps import AppConfig


class ModelPilotConfig(AppConfig):
    name = "modelpilot"

    def ready(self) -> None:
        # Importing is registering.
        from modelpilot import checks  # noqa: F401
