"""Every error, wherever it comes from, in the one envelope."""

import logging
from collections.abc import Callable
from typing import Any

import orjson
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from django.utils.decorators import sync_and_async_middleware
from django.views.defaults import bad_request
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from modelpilot.api import gate
from modelpilot.api.admission import overloaded
from modelpilot.api.findings import invalid
from modelpilot.errors import ApiError
from modelpilot.hop import TooLate

log = logging.getLogger(__name__)

NOT_FOUND = ApiError(404, "not_found", "There is nothing at this address. See /api/v1/docs.")
MALFORMED = ApiError(
    400, "bad_request", "The request is malformed. Check its headers and, if it is one, its form."
)
BROKEN = ApiError(
    500,
    "internal_error",
    "Something broke on our side and was logged. Nothing was charged; try again.",
    type="server_error",
)
AWAY = ApiError(
    503,
    "service_unavailable",
    "The database does not answer at the moment. Try again in a few seconds.",
    type="server_error",
    headers={"Retry-After": "5"},
)


def respond(error: ApiError) -> HttpResponse:
    return HttpResponse(
        orjson.dumps(error.body()),
        status=error.status,
        content_type="application/json",
        # Whoever stands between may not keep what is an account's own.
        headers={"Cache-Control": "private, no-store", **(error.headers or {})},
    )


def install(api: NinjaAPI) -> None:
    """Make ninja answer all its own errors, and ours, through `respond`."""

    def answer(request: HttpRequest, error: Exception | type[Exception]) -> HttpResponse:
        assert isinstance(error, Exception)
        return respond(translate(request, error))

    kinds: tuple[type[Exception], ...] = (
        ApiError,
        ValidationError,
        HttpError,
        Http404,
        OperationalError,
        InterfaceError,
        Exception,
    )
    for kind in kinds:
        api.add_exception_handler(kind, answer)


def translate(request: HttpRequest, error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case ValidationError():
            return invalid(error.errors, sent(request))
        case HttpError():
            cause = error.__cause__
            return cause if isinstance(cause, ApiError) else http_error(error)
        case Http404():
            return NOT_FOUND
        case SuspiciousOperation() | MultiPartParserError():
            return MALFORMED
        case TooLate():
            return overloaded()
        case OperationalError() | InterfaceError():
            log.error("Request %s: no database: %s", gate.request_id(request), error)
            return AWAY
    log.error("Request %s broke.", gate.request_id(request), exc_info=error)
    return BROKEN


def sent(request: HttpRequest) -> Any:
    """The body that was checked; None if it is no JSON, or there is none."""
    try:
        return orjson.loads(request.body)
    except ValueError:
        return None


def http_error(error: HttpError) -> ApiError:
    if error.status_code == 400:
        return ApiError(400, "invalid_json", "The body is not valid JSON. Check its syntax.")
    return ApiError(error.status_code, "invalid_request", str(error))


Next = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def envelope(get_response: Next) -> Next:
    """Put into the envelope what Django and ninja answer on API paths without asking us, and
    say how long an answer is."""
    if iscoroutinefunction(get_response):

        async def answer(request: HttpRequest) -> HttpResponseBase:
            return finished(request, malformed(request) or await get_response(request))

        return answer
    return lambda request: finished(request, malformed(request) or get_response(request))


def malformed(request: HttpRequest) -> HttpResponseBase | None:
    """The answer to what PostgreSQL can't be asked, nor anybody else: an address with a NUL."""
    if "\x00" not in request.path and "%00" not in request.META.get("QUERY_STRING", ""):
        return None
    return (
        respond(MALFORMED)
        if gate.is_api(request.path)
        else bad_request(request, SuspiciousOperation())
    )


def finished(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    scope = getattr(request, "scope", None)
    if scope is not None and request.resolver_match is not None:
        # For the gate, which writes the line of this request when it is over.
        scope["modelpilot.route"] = request.resolver_match.route
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    if response.status_code >= 400 and not is_json and gate.is_api(request.path):
        allow = response.headers.get("Allow")
        response = respond(unasked(response.status_code, request.method or ""))
        if allow:
            response.headers["Allow"] = allow
    if gate.is_api(request.path):
        # Of answers as of errors.
        response.headers.setdefault("Cache-Control", "private, no-store")
    if isinstance(response, HttpResponse) and not response.streaming:
        response.headers["Content-Length"] = str(len(response.content))
    return response


def unasked(status: int, method: str) -> ApiError:
    match status:
        case 404:
            return NOT_FOUND
        case 405:
            return ApiError(
                405, "method_not_allowed", f"This route does not take {method}. See /api/v1/docs."
            )
        case 400:
            return MALFORMED
    return (
        ApiError(status, "invalid_request", "The request was refused.") if status < 500 else BROKEN
    )
