"""The account's own page: what there is, taking it along, and leaving."""

from collections.abc import AsyncIterator

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django import forms
from django.conf import settings as django_settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from modelpilot.accounts.models import User
from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.hop import hop
from modelpilot.jobs import departure, export


@signed_in
def settings(request: HttpRequest) -> HttpResponse:
    user = current_user(request)
    addresses = EmailAddress.objects.filter(user=user)
    context = {
        "addresses": addresses.count(),
        "verified": addresses.filter(email=user.email, verified=True).exists(),
        "has_password": user.has_usable_password(),
        "second_factor": Authenticator.objects.filter(
            user=user, type=Authenticator.Type.TOTP
        ).exists(),
        "sessions": UserSession.objects.filter(user=user).count(),
        "connected": SocialAccount.objects.filter(user=user).count(),
        "connectable": bool(django_settings.IDENTITY_APPS),
    }
    return render(request, "dashboard/settings.html", context)


@require_POST
@login_required
def export_account(request: HttpRequest) -> HttpResponseBase:
    response = StreamingHttpResponse(
        streamed(current_user(request)), content_type="application/zip"
    )
    name = f"modelpilot-{timezone.now():%Y-%m-%d}.zip"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


async def streamed(user: User) -> AsyncIterator[bytes]:
    """A part at a time, each made in a thread that has its own connection for it."""
    parts = export.parts(user)
    while (part := await hop(next, parts, None)) is not None:
        yield part


class DeleteForm(forms.Form):
    """Asks for what only the owner knows, or, without a password, that it is meant."""

    email = forms.CharField(
        label="Type your e-mail address", widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    password = forms.CharField(
        label="Your password",
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        self.request, self.user = request, current_user(request)
        if not self.user.has_usable_password():
            del self.fields["password"]

    def clean_email(self) -> str:
        typed: str = self.cleaned_data["email"]
        if typed.strip().lower() != self.user.email:
            raise forms.ValidationError("That is not the address of this account.")
        return typed

    def clean_password(self) -> str:
        typed: str = self.cleaned_data["password"]
        # Through the adapter, which counts wrong ones.
        known = get_adapter(self.request).authenticate(
            self.request, email=self.user.email, password=typed
        )
        if known is None or known.pk != self.user.pk:
            raise forms.ValidationError("That is not your password.")
        return typed


@signed_in
def delete_account(request: HttpRequest) -> HttpResponse:
    user = current_user(request)
    form = DeleteForm(request)
    if request.method == "POST" and form.is_valid():
        try:
            departure.close(user)
        except departure.Refused as refusal:
            form.add_error(None, str(refusal))
        else:
            request.session.flush()
            messages.success(request, "Your account is deleted.")
            return redirect("front")
    context = {"form": form, "obstacle": departure.obstacle(user)}
    return render(request, "dashboard/settings_delete.html", context)
