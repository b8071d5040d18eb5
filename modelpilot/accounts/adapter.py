"""Where allauth, which runs sign-up and sign-in, asks us."""

import logging
from copy import copy
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailConfirmation
from allauth.account.stages import LoginStage
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.db.models import Model
from django.db.models.expressions import DatabaseDefault
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from billing import ledger
from modelpilot.accounts import audit, registration
from modelpilot.accounts.mail import SITE
from modelpilot.accounts.models import Invitation, User
from modelpilot.client_address import UNKNOWN, client_address

log = logging.getLogger(__name__)

MAIL_DOWN = (
    "Our mail server does not answer, so the mail to you was not sent. Nothing is lost: try "
    "again in a few minutes."
)


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]
    def get_client_ip(self, request: HttpRequest) -> str:
        address = client_address(request)
        # Without an address they come by a unix socket.
        return "127.0.0.1" if address == UNKNOWN else address

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return registration.is_open(request)

    @transaction.atomic
    def save_user(
        self, request: HttpRequest, user: User, form: BaseForm, commit: bool = True
    ) -> User:
        super().save_user(request, user, form, commit)
        if commit:
            invitation = take_in(request, user)
            if invitation is not None and invitation.email == user.email:
                # An operator has named it, and who reads its mail, or was given the link, is here.
                self.stash_verified_email(request, user.email)
        return user

    def get_login_stages(self) -> list[str]:
        """Who waits for an operator may verify an address, and gets no further."""
        stages: list[str] = super().get_login_stages()
        after = stages.index("allauth.account.stages.EmailVerificationStage") + 1
        return [*stages[:after], f"{__name__}.{ApprovalStage.__name__}", *stages[after:]]

    def pre_login(self, request: HttpRequest, user: User, **options: Any) -> HttpResponse | None:
        # The stage below speaks to those who wait.
        return None if user.waiting else super().pre_login(request, user, **options)

    def login(self, request: HttpRequest, user: User) -> None:
        super().login(request, user)
        with audit.by(audit.of_user(user, client_address(request))):
            audit.record("account.sign_in", user)

    def logout(self, request: HttpRequest) -> None:
        user = request.user
        if isinstance(user, User):
            with audit.by(audit.of_user(user, client_address(request))):
                audit.record("account.sign_out", user)
        super().logout(request)

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        # What was typed may be anything, even a password: only what is an account is named.
        known = User.objects.filter(email=str(credentials.get("email", "")).lower()).first()
        audit.record("account.sign_in_failed", known or "no account")

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        context = {**context, "current_site": SITE, "site_url": settings.SITE_URL}
        try:
            super().send_mail(template_prefix, email, context)
        except OSError as error:  # smtplib's own are such, too
            log.error("The mail %s could not be sent: %s", template_prefix, error)
            messages.error(self.request, MAIL_DOWN)

    def send_notification_mail(
        self,
        template_prefix: str,
        user: User,
        context: dict[str, Any] | None = None,
        email: str | None = None,
    ) -> None:
        """allauth comes here after each change of how an account is entered."""
        change = template_prefix.rpartition("/")[2].removeprefix("account_")
        with audit.by(audit.of_user(user, client_address(self.request))):
            audit.record(f"account.{change}", user)
        super().send_notification_mail(template_prefix, user, context, email)

    def get_email_confirmation_url(
        self, request: HttpRequest, emailconfirmation: EmailConfirmation
    ) -> str:
        return at_home(super().get_email_confirmation_url(request, emailconfirmation))

    def get_reset_password_from_key_url(self, key: str) -> str:
        return at_home(super().get_reset_password_from_key_url(key))


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        for address in sociallogin.email_addresses:
            # Some providers write it as text, where "false" would be true.
            address.verified = address.verified in (True, "true")

    def serialize_instance(self, instance: Model) -> dict[str, Any]:
        """For the session, while somebody is asked for an address: without what only the
        database will know of a user who isn't saved yet."""
        known = copy(instance)
        for name, value in vars(instance).items():
            if isinstance(value, DatabaseDefault):
                vars(known).pop(name)
        fields: dict[str, Any] = super().serialize_instance(known)
        return fields

    @transaction.atomic
    def save_user(
        self, request: HttpRequest, sociallogin: SocialLogin, form: BaseForm | None = None
    ) -> User:
        user: User = super().save_user(request, sociallogin, form)
        # By a form it went through the other adapter.
        if form is None:
            take_in(request, user)
        return user


class ApprovalStage(LoginStage):  # type: ignore[misc]
    """Between the address and the second factor: an operator lets people in."""

    key = "approval"

    def handle(self) -> tuple[HttpResponse | None, bool]:
        user = self.login.user
        if user is None or not user.waiting:
            return None, True
        return redirect("account_waiting"), False


def take_in(request: HttpRequest, user: User) -> Invitation | None:
    """What a new account needs, in the transaction that has made it; by which invitation."""
    try:
        invitation = registration.admit(request, user)
    except registration.Refused:
        raise ImmediateHttpResponse(
            render(request, "account/signup_closed.html", status=403)
        ) from None
    ledger.open_account(user.id)
    with audit.by(audit.of_user(user, client_address(request))):
        audit.record("account.sign_up", user, waiting=user.waiting)
    return invitation


def at_home(url: str) -> str:
    """The link at our own address: the Host of a request is whatever its sender wrote."""
    return f"{settings.SITE_URL}{urlsplit(url).path}"
