"""The set-up page of the first run: the operator gives the account an e-mail and a password."""

from allauth.account.utils import perform_login
from django import forms
from django.contrib.auth.password_validation import validate_password
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from modelpilot.accounts import first_run
from modelpilot.accounts.models import User


class SetupForm(forms.Form):
    email = forms.EmailField(
        label="E-mail", widget=forms.EmailInput(attrs={"autocomplete": "email"})
    )
    password = forms.CharField(
        label="Password",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        validators=[validate_password],
    )


def setup(request: HttpRequest, token: str) -> HttpResponse:
    operator = first_run.operator_of(token)
    if operator is None:
        return render(request, "setup.html", status=404)
    form = SetupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        taken = User.objects.filter(email=form.cleaned_data["email"].lower())
        if taken.exclude(id=operator.id).exists():
            form.add_error("email", "Another account has this e-mail.")
        else:
            first_run.finish(operator, form.cleaned_data["email"], form.cleaned_data["password"])
            response: HttpResponse = perform_login(request, operator)
            return response
    return render(request, "setup.html", {"form": form})
