"""The browser's session, for calls that pages make."""

from importlib import import_module

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.models import Session
from django.http import HttpRequest

from modelpilot.accounts.keys import Principal
from modelpilot.accounts.models import Permission, User

Store = import_module(settings.SESSION_ENGINE).SessionStore


def principal(session_key: str) -> Principal | None:
    """Who is signed in under this cookie, with all that the account may do; None for nobody."""
    request = HttpRequest()
    request.session = Store(session_key)
    user = get_user(request)
    if not isinstance(user, User):
        return None
    return Principal(
        user.id,
        key_id=None,
        permissions=frozenset(Permission.values),
        models=None,
        can_deploy=user.is_staff or user.can_deploy,
        email=user.email,
    )


def end_all(user: User) -> None:
    """Sign the account out everywhere."""
    for session in UserSession.objects.filter(user=user):
        Store(session.session_key).delete()
        session.delete()


def tidy() -> None:
    """Delete the sessions that have expired, and what is known about them."""
    Store.clear_expired()
    UserSession.objects.exclude(session_key__in=Session.objects.values("session_key")).delete()
