"""Pages before somebody has an account: an invitation's link, and waiting for an operator."""

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from modelpilot.accounts import registration


def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Lets the visitor sign up."""
    found = registration.accept(request, token)
    if found is None:
        return render(request, "account/invitation_over.html", status=404)
    return redirect(f"{reverse('account_signup')}?{urlencode({'email': found.email})}")


def waiting(request: HttpRequest) -> HttpResponse:
    return render(request, "account/waiting.html")
