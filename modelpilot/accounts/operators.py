"""Who may open the operators' pages: they ask for more than a password.

An operator needs a second factor (an authenticator app), except where only this machine reaches
us: there the first run goes on without one. Nobody is locked out, as whoever lacks it is led to
the page that turns it on.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from modelpilot.accounts.models import User
from modelpilot.accounts.registration import only_this_machine

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]

NEEDS_FACTOR = "Operators sign in with a second factor. Turn it on here, then go back."


def may_operate(request: HttpRequest) -> bool:
    """Whether this is an operator with all that it takes: `AdminSite.has_permission`."""
    user = request.user
    return isinstance(user, User) and user.is_active and user.is_staff and has_factor(user)


def has_factor(user: User) -> bool:
    """Where it is on, nobody gets a session without it."""
    return only_this_machine() or bool(is_mfa_enabled(user))


def operators_only(view: View[P]) -> View[P]:
    """A view for operators: others sign in, are refused, or are led to the second factor.

    The admin's own sign-in is such a view: `site.login = operators_only(site.login)`.
    """

    @wraps(view)
    def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        user = request.user
        if not isinstance(user, User):
            return redirect_to_login(request.get_full_path())
        if not user.is_staff:
            raise PermissionDenied
        if not has_factor(user):
            messages.warning(request, NEEDS_FACTOR)
            return redirect("mfa_activate_totp")
        return view(request, *args, **kwargs)

    return checked
