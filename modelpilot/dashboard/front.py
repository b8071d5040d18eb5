"""The public front page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from modelpilot.dashboard.gallery import PICTURES, all_models, by_kind
from modelpilot.dashboard.samples import sample
from modelpilot.fleet.catalog import cards


def front(request: HttpRequest) -> HttpResponse:
    """What there is, from the catalog, and what a model of it has drawn."""
    drawn = [
        (model, file, prompt)
        for model, pictures in PICTURES.items()
        if model in cards().cards
        for file, prompt in pictures
    ]
    context = {"groups": by_kind(all_models()), "pictures": drawn, "sample": sample()}
    return render(request, "front.html", context)
