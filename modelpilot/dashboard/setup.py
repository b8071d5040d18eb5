"""The set-up page of the first run: the operator gives the account an e-mail and a password."""

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from modelpilot.accounts import first_run
from modelpilot.accounts.models import User
from modelpilot.hop import hop


class SetupForm(forms.Form):
    email = forms.EmailField(label="E-mail")
    password = forms.CharField(
        label="Password",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        validators=[validate_password],
    )


# The link itself is the secret that a forged request could not know.
@csrf_exempt
async def setup(request: HttpRequest, token: str) -> HttpResponseBase:
    return await hop(setup_page, request, token)


def setup_page(request: HttpRequest, token: str) -> HttpResponse:
    operator = first_run.operator_of(token)
    if operator is None:
        return render(request, "setup.html", {"state": "used"}, status=404)
    form = SetupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        taken = User.objects.filter(email=form.cleaned_data["email"].lower())
        if taken.exclude(id=operator.id).exists():
            form.add_error("email", "Another account has this e-mail.")
        else:
            first_run.finish(operator, form.cleaned_data["email"], form.cleaned_data["password"])
            return render(request, "setup.html", {"state": "done", "email": operator.email})
    return render(request, "setup.html", {"state": "form", "form": form})
