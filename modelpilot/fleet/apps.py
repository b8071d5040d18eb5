from django.apps import AppConfig


class FleetConfig(AppConfig):
    name = "modelpilot.fleet"
    label = "fleet"
