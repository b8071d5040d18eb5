from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "modelpilot.jobs"
    label = "jobs"
