"""Where allauth, which runs sign-up and sign-in, asks us."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailConfirmation
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpRequest

from billing import ledger
from modelpilot.accounts.models import User
from modelpilot.client_address import client_address


@dataclass(frozen=True, slots=True)
class Site:
    """What mails call us."""

    name: str
    domain: str


SITE = Site("ModelPilot", urlsplit(settings.SITE_URL).netloc)


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]
    def get_client_ip(self, request: HttpRequest) -> str:
        address = client_address(request)
        # Without an address they come by a unix socket.
        return "127.0.0.1" if address == "unknown" else address

    @transaction.atomic
    def save_user(
        self, request: HttpRequest, user: User, form: BaseForm, commit: bool = True
    ) -> User:
        super().save_user(request, user, form, commit)
        if commit:
            ledger.open_account(user.id)
        return user

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        super().send_mail(template_prefix, email, {**context, "current_site": SITE})

    def get_email_confirmation_url(
        self, request: HttpRequest, emailconfirmation: EmailConfirmation
    ) -> str:
        return at_home(super().get_email_confirmation_url(request, emailconfirmation))

    def get_reset_password_from_key_url(self, key: str) -> str:
        return at_home(super().get_reset_password_from_key_url(key))


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    @transaction.atomic
    def save_user(
        self, request: HttpRequest, sociallogin: SocialLogin, form: BaseForm | None = None
    ) -> User:
        user: User = super().save_user(request, sociallogin, form)
        ledger.open_account(user.id)
        return user


def at_home(url: str) -> str:
    """The link at our own address: the Host of a request is whatever its sender wrote."""
    return f"{settings.SITE_URL}{urlsplit(url).path}"
