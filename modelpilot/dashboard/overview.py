"""The first page after signing in."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from modelpilot.accounts.models import ApiKey
from modelpilot.dashboard.samples import sample
from modelpilot.dashboard.shell import current_user, signed_in
from modelpilot.jobs import usage


@signed_in
def overview(request: HttpRequest) -> HttpResponse:
    user = current_user(request)
    today, month = usage.spend(user.id)
    context = {
        "today": today,
        "month": month,
        "keys": ApiKey.objects.filter(user=user, revoked_at=None).count(),
        "sample": sample(),
    }
    return render(request, "dashboard/overview.html", context)
