"""Operators' pages ask for a second factor, and lock out nobody."""

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages.storage.fallback import FallbackStorage
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from modelpilot.accounts.models import User
from modelpilot.accounts.operators import may_operate, operators_only


@operators_only
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the operators' page")


def asked_by(user: User | AnonymousUser) -> HttpRequest:
    request = RequestFactory().get("/admin/")
    request.user = user
    request.session = {}  # type: ignore[assignment]
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    return request


def test_from_the_network_an_operator_needs_a_second_factor(bob: User, settings: Settings) -> None:
    settings.PUBLIC_URL = "https://ai.example.com"
    request = asked_by(bob)
    assert not may_operate(request)
    assert page(request).headers["Location"] == "/accounts/2fa/totp/activate/"

    Authenticator.objects.create(user=bob, type=Authenticator.Type.TOTP, data={})
    request = asked_by(bob)
    assert may_operate(request)
    assert page(request).content == b"the operators' page"


def test_on_ones_own_machine_the_first_run_goes_on(bob: User) -> None:
    assert may_operate(asked_by(bob))
    assert page(asked_by(bob)).status_code == 200


def test_nobody_else_gets_in(alice: User, settings: Settings) -> None:
    assert not may_operate(asked_by(alice))
    with pytest.raises(PermissionDenied):
        page(asked_by(alice))
    stranger = asked_by(AnonymousUser())
    assert not may_operate(stranger)
    assert page(stranger).headers["Location"] == "/accounts/login/?next=/admin/"
