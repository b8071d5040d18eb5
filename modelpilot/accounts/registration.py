"""Who may make an account: everybody, everybody whom an operator approves, or who is invited.

What holds is a row that operators change, in the admin or by `manage.py registration`. Without
one everybody may, where mails prove addresses or where only this machine reaches us; elsewhere
a box that somebody found on the network lets in nobody who was not invited.
"""

import hashlib
import ipaddress
import secrets
from datetime import timedelta

from django.conf import settings
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from modelpilot.accounts import audit, mail
from modelpilot.accounts.models import Invitation, Registration, User

Mode = Registration.Mode
# How long an invitation can be used, unless somebody says otherwise.
LIFETIME = timedelta(days=7)
# Where a visitor's session keeps the invitation that was followed.
SESSION_NAME = "invitation"


class Refused(Exception):
    """Nobody may sign up this way."""


def mode() -> Mode:
    chosen = Registration.objects.filter(id=1).first()
    return default() if chosen is None else Mode(chosen.mode)


def default() -> Mode:
    return Mode.OPEN if settings.EMAIL_URL or only_this_machine() else Mode.INVITE


def only_this_machine() -> bool:
    """Whether nobody else can reach us."""
    try:
        loopback = ipaddress.ip_address(settings.HOST).is_loopback
    except ValueError:
        loopback = settings.HOST == "localhost"
    return loopback and not settings.PUBLIC_URL


@transaction.atomic
def change(mode: Mode) -> None:
    Registration.objects.update_or_create(id=1, defaults={"mode": mode})
    audit.record("registration.change", mode.label, mode=mode)


@transaction.atomic
def invite(email: str, lifetime: timedelta = LIFETIME) -> str:
    """Make an invitation and mail it; its link is returned, and can't be seen again.

    Raises ValidationError where `email` is no address.
    """
    validate_email(email)
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        email=email.lower(), digest=digest(token), expires_at=timezone.now() + lifetime
    )
    audit.record("invitation.create", invitation.email, days=lifetime / timedelta(days=1))
    link = f"{settings.SITE_URL}/accounts/invitation/{token}"
    transaction.on_commit(lambda: mailed(invitation, link))
    return link


def mailed(invitation: Invitation, link: str) -> None:
    mail.send("invitation", invitation.email, link=link, expires_at=invitation.expires_at)


def digest(token: str) -> bytes:
    """What is stored of a link: 256 random bits need no pepper."""
    return hashlib.sha256(token.encode()).digest()


def usable() -> QuerySet[Invitation]:
    return Invitation.objects.filter(used_at=None, expires_at__gt=timezone.now())


def accept(request: HttpRequest, token: str) -> Invitation | None:
    """Let the visitor who followed this link sign up; None where it is of no use any more."""
    invitation = usable().filter(digest=digest(token)).first()
    if invitation is not None:
        request.session[SESSION_NAME] = invitation.id
    return invitation


def held(request: HttpRequest) -> Invitation | None:
    """The invitation that this visitor came with."""
    number = request.session.get(SESSION_NAME)
    return None if number is None else usable().filter(id=number).first()


def is_open(request: HttpRequest) -> bool:
    return mode() != Mode.INVITE or held(request) is not None


def admit(request: HttpRequest, user: User) -> Invitation | None:
    """Take in a new account, in the transaction that has made it.

    It is active at once by an invitation, which is used up and returned, or where everybody
    may; else it waits. Raises Refused for somebody whose invitation was used in the meantime.
    """
    invitation = held(request)
    if invitation is not None:
        used = usable().filter(id=invitation.id).update(used_at=timezone.now(), used_by=user)
        if not used:
            raise Refused
        del request.session[SESSION_NAME]
    elif mode() == Mode.INVITE:
        raise Refused
    elif mode() == Mode.APPROVAL:
        user.is_active, user.waiting = False, True
        user.save(update_fields=["is_active", "waiting"])
    return invitation


@transaction.atomic
def approve(user: User) -> None:
    """Let in somebody who waits, and tell them; does nothing for anybody else."""
    approved = User.objects.filter(id=user.id, waiting=True).update(waiting=False, is_active=True)
    if approved:
        audit.record("account.approve", user)
        transaction.on_commit(lambda: told(user))


def told(user: User) -> None:
    mail.send("approved", user.email)
