from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "modelpilot.accounts"
    label = "accounts"
