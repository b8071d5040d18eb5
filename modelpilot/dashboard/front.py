"""The public front page."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from modelpilot.fleet.catalog import cards


def front(request: HttpRequest) -> HttpResponse:
    kinds: dict[str, list[str]] = {}
    for card in cards().cards.values():
        kinds.setdefault(card.kind, []).append(card.id)
    return render(request, "front.html", {"kinds": kinds, "base": f"{settings.SITE_URL}/api/v1"})
