"""The public front page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from modelpilot.dashboard.samples import sample
from modelpilot.fleet.catalog import cards


def front(request: HttpRequest) -> HttpResponse:
    """What there is, from the catalog."""
    kinds: dict[str, list[str]] = {}
    for card in cards().cards.values():
        kinds.setdefault(card.kind, []).append(card.id)
    return render(request, "front.html", {"kinds": kinds, "sample": sample()})
