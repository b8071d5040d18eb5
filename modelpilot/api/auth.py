"""Who calls and what they may do: checked before a byte of the body is looked at.

A program sends a key, the pages of the site their session's cookie. The order is the
contract's: 401, 403, 413, 429.
"""

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.utils import check_csrf

from modelpilot.accounts import audit, keys, sessions
from modelpilot.accounts.audit import Actor
from modelpilot.accounts.keys import Principal
from modelpilot.api import gate, limits
from modelpilot.client_address import client_address
from modelpilot.errors import ApiError
from modelpilot.hop import hop, hop_in_time

PERMISSIONS = ("read", "proxy", "generate")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Key(HttpBearer):
    """A bearer key with permissions: all of `needed`, or one of them if `any_of`; `deploys`: of
    an account that may deploy models."""

    is_async = True

    def __init__(
        self, *needed: str, any_of: bool = False, polling: bool = False, deploys: bool = False
    ) -> None:
        super().__init__()
        self.needed = needed
        self.any_of = any_of
        self.polling = polling
        self.deploys = deploys

    async def __call__(self, request: HttpRequest) -> Principal:
        try:
            if has_session(request):
                principal = await of_session(request)
            else:
                principal = await self.authenticate(request, bearer(request))
            request.scope["modelpilot.principal"] = principal  # type: ignore[attr-defined]
            audit.acting.set(
                Actor(
                    principal.email,
                    principal.user_id,
                    principal.key_id,
                    client_address(request),
                )
            )
            self.authorise(principal)
            gate.check_body(request)
        except ApiError:
            await self.count_refused(request)
            raise
        await limits.check(request, polling=self.polling)
        return principal

    async def authenticate(self, request: HttpRequest, token: str) -> Principal:
        principal = await hop_in_time(keys.authenticate, token) if token else None
        if principal is None:
            raise unauthenticated(await hop(keys.refusal, token))
        return principal

    def authorise(self, principal: Principal) -> None:
        missing = [name for name in self.needed if name not in principal.permissions]
        if missing and not (self.any_of and len(missing) < len(self.needed)):
            raise permission_denied(missing)
        if self.deploys and not principal.can_deploy:
            raise ApiError(
                403,
                "permission_denied",
                "Your account may not deploy models. Ask the operator for the permission.",
                type="permission_error",
            )

    async def count_refused(self, request: HttpRequest) -> None:
        """A refused call counts too, but its own refusal comes first."""
        with suppress(ApiError):
            await limits.check(request, polling=self.polling)


def bearer(request: HttpRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def has_session(request: HttpRequest) -> bool:
    """Whether a browser calls: whoever sends a key means the key."""
    return (
        "Authorization" not in request.headers and settings.SESSION_COOKIE_NAME in request.COOKIES
    )


async def of_session(request: HttpRequest) -> Principal:
    principal = await hop_in_time(sessions.principal, request.COOKIES[settings.SESSION_COOKIE_NAME])
    if principal is None:
        raise unauthenticated("You are signed out. Sign in again, or send an API key.")
    # A browser adds the cookie to whatever site's requests; the token is on our pages only.
    if request.method not in SAFE_METHODS and check_csrf(request) is not None:
        raise ApiError(
            403,
            "csrf_failed",
            "The header X-CSRFToken is missing or wrong. Load the page again, or send an API key "
            "instead of a cookie.",
            type="permission_error",
        )
    return principal


def unauthenticated(message: str) -> ApiError:
    return ApiError(
        401,
        "invalid_api_key",
        message,
        type="authentication_error",
        headers={"WWW-Authenticate": "Bearer"},
    )


def permission_denied(missing: list[str]) -> ApiError:
    names = " or ".join(f"'{name}'" for name in missing)
    return ApiError(
        403,
        "permission_denied",
        f"This API key lacks the permission {names}. Create a key that has it.",
        type="permission_error",
    )


def principal_of(request: HttpRequest) -> Principal:
    """The caller, on a route that has authentication."""
    principal: Any = request.auth  # type: ignore[attr-defined]
    assert isinstance(principal, Principal)
    return principal
