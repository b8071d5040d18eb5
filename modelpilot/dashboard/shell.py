"""The frame around every page: navigation, balance, theme.

To add a page:

1. a view in `modelpilot/dashboard/<noun>.py`, decorated with `@signed_in` (or `@deployers_only`);
   views are plain functions, not async: a page is made in one thread (see modelpilot/asgi.py);
2. its path in `urls.py`, named like the noun;
3. a template in `templates/dashboard/` that extends `dashboard.html` and fills the blocks `title`,
   `actions` (buttons right of the title) and `content`;
4. a line in `ENTRIES`, if the navigation shall lead to it.

`static/modelpilot/site.css` begins with a list of the components; the tags and filters of
`tags.py` need no `{% load %}`. What a page shows is asked of `billing`, `jobs` and `fleet`, never
of `api`; what it does in the browser goes through the API with the session's cookie, and scripts
send the header X-CSRFToken (htmx does so by itself).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property

from billing import ledger
from billing.ledger import Balance
from modelpilot.accounts import audit, registration
from modelpilot.accounts.models import User
from modelpilot.client_address import client_address

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]

THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the navigation; `name` is its URL's, `icon` a symbol of icons.svg."""

    label: str
    name: str
    icon: str
    deployers: bool = False

    @property
    def url(self) -> str:
        return reverse(self.name)


# Overview, Playground, Jobs, Keys, Usage, Billing, Deployments, Webhooks, Settings: in this order.
ENTRIES = [
    Entry("Overview", "overview", "home"),
    Entry("Playground", "playground", "play"),
    Entry("Jobs", "jobs", "jobs"),
    Entry("Keys", "keys", "key"),
    Entry("Usage", "usage", "chart"),
    Entry("Billing", "billing", "card"),
    Entry("Deployments", "deployments", "cube", deployers=True),
    Entry("Webhooks", "webhooks", "hook"),
    Entry("Settings", "settings", "settings"),
]
# The public pages, above the front page: Models, Pricing, Docs.
PUBLIC_ENTRIES = [
    Entry("Models", "models", "cube"),
    Entry("Pricing", "pricing", "card"),
    Entry("Docs", "docs", "book"),
]
# The account's own pages, as tabs.
ACCOUNT_ENTRIES = [
    Entry("Account", "settings", "settings"),
    Entry("E-mail", "account_email", "user"),
    Entry("Password", "account_change_password", "key"),
    Entry("Two-factor sign-in", "mfa_index", "shield"),
    Entry("Sessions", "usersessions_list", "user"),
]
if settings.IDENTITY_APPS:
    ACCOUNT_ENTRIES.append(Entry("Connected accounts", "socialaccount_connections", "user"))


def longest(entries: list[Entry], path: str) -> Entry | None:
    """The entry that the page at `path` is, or is inside of."""
    inside = [entry for entry in entries if path.startswith(entry.url)]
    return max(inside, key=lambda entry: len(entry.url), default=None)


class Shell:
    """What the frame shows, each asked for when a template uses it."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.user: Any = getattr(request, "user", None)

    @property
    def theme(self) -> str:
        """The one that was chosen, else "" for the one of the system."""
        chosen = self.request.COOKIES.get("theme", "")
        return chosen if chosen in THEMES else ""

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry in ENTRIES if not entry.deployers or may_deploy(self.user)]

    @property
    def public_entries(self) -> list[Entry]:
        return PUBLIC_ENTRIES

    @property
    def account_entries(self) -> list[Entry]:
        return ACCOUNT_ENTRIES

    @property
    def active_account(self) -> str:
        """The name of the tab that the page belongs to."""
        here = longest(ACCOUNT_ENTRIES, self.request.path)
        return here.name if here else ""

    @cached_property
    def active(self) -> str:
        """The name of the entry that the page belongs to."""
        path = self.request.path
        if longest(ACCOUNT_ENTRIES, path):
            return "settings"
        here = longest(ENTRIES, path)
        return here.name if here else ""

    @cached_property
    def sign_up_open(self) -> bool:
        return registration.is_open(self.request)

    @property
    def active_public(self) -> str:
        here = longest(PUBLIC_ENTRIES, self.request.path)
        return here.name if here else ""

    @cached_property
    def balance(self) -> Balance:
        return ledger.balance(self.user.id)


def shell(request: HttpRequest) -> dict[str, Shell]:
    """Django's context processor: `{{ shell }}` in every template."""
    return {"shell": Shell(request)}


def private(get_response: View[[]]) -> View[[]]:
    """Middleware: a page that depends on who looks at it is kept by nobody."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.session.accessed:
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return middleware


def acting(get_response: View[[]]) -> View[[]]:
    """Middleware: what a page changes is written down as its user's act."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return get_response(request)
        address, user = client_address(request), request.user
        if isinstance(user, User):
            actor = audit.of_user(user, address)
        else:
            actor = audit.Actor("visitor", address=address)
        with audit.by(actor):
            return get_response(request)

    return middleware


def may_deploy(user: User) -> bool:
    return user.is_staff or user.can_deploy


def signed_in(view: View[P]) -> View[P]:
    """For people with an account; others are asked to sign in first."""
    guarded: View[P] = login_required(view)
    return guarded


def deployers_only(view: View[P]) -> View[P]:
    """`signed_in`, for accounts that may deploy models."""

    @wraps(view)
    def checked(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not may_deploy(current_user(request)):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return signed_in(checked)


def current_user(request: HttpRequest) -> User:
    """Who is signed in, on a page that asks for it."""
    user = request.user
    assert isinstance(user, User)
    return user
