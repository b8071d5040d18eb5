"""The playground: every deployed model behind a form, and what one made with it lately.

The forms call the API with the session's cookie, see static/modelpilot/playground.js.
"""

from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from inference.types import Kind
from modelpilot.dashboard import examples
from modelpilot.dashboard.fields import fields_of, main_field, shapes
from modelpilot.dashboard.gallery import Priced
from modelpilot.dashboard.samples import API
from modelpilot.dashboard.shell import current_user, may_deploy, signed_in
from modelpilot.fleet import deployments, eta, facts
from modelpilot.fleet.catalog import cards, price_of
from modelpilot.fleet.turns import LONGEST_S
from modelpilot.jobs import recent

ROUTES: dict[str, str] = {
    Kind.TEXT: "chat/completions",
    Kind.IMAGE: "generate/image",
    Kind.VIDEO: "generate/video",
    Kind.AUDIO: "audio/speech",
    Kind.TRANSCRIPTION: "audio/transcriptions",
    Kind.EMBEDDING: "embeddings",
}
VERBS: dict[str, str] = {
    Kind.AUDIO: "Speak",
    Kind.TRANSCRIPTION: "Write it down",
    Kind.EMBEDDING: "Compare",
}
LATEST = 12


@dataclass(frozen=True, slots=True)
class Offer(Priced):
    """A model that can be tried. `ready_s`: seconds until it can begin, 0 where it is loaded."""

    ready_s: float

    @property
    def warm(self) -> bool:
        return self.ready_s == 0

    @property
    def starts(self) -> str:
        """When an answer can begin, in words."""
        if self.warm:
            return "warm"
        if self.ready_s >= LONGEST_S:
            return "cold, waits for room"
        return f"cold, starts in {max(1, round(self.ready_s))} s"


def offers() -> list[Offer]:
    """Every model that is served, by kind and in the order of the catalog."""
    now = facts.gather()
    served = {serving.model: serving for serving in deployments.all_serving()}
    found = []
    for card in cards().cards.values():
        serving = served.get(card.id)
        ahead = eta.outlook(serving.id, now) if serving else None
        if serving is not None and ahead is not None:
            found.append(Offer(card, price_of(card, serving.price), ahead.ready_s))
    kinds = list(ROUTES)
    return sorted(found, key=lambda offer: kinds.index(offer.card.kind))


@signed_in
def playground(request: HttpRequest) -> HttpResponse:
    """What there is to try."""
    context = {"offers": offers(), "may_deploy": may_deploy(current_user(request))}
    return render(request, "dashboard/playground/index.html", context)


@signed_in
def model(request: HttpRequest, name: str) -> HttpResponse:
    """One model's form; 404 for one that is not served."""
    found = offers()
    offer = next((offer for offer in found if offer.card.id == name), None)
    if offer is None:
        raise Http404
    card, fields = offer.card, fields_of(offer.card)
    context: dict[str, Any] = {
        "offer": offer,
        "card": card,
        "kind": card.kind.value,
        "offers": found,
        "main": main_field(card),
        "verb": VERBS.get(card.kind, "Generate"),
        "examples": examples.of_card(card),
        "basic": [field for field in fields if not field.advanced],
        "advanced": [field for field in fields if field.advanced],
        "shapes": shapes(card),
        "about": {
            "model": card.id,
            "kind": card.kind.value,
            "route": ROUTES[card.kind],
            "main": main_field(card).name,
            "api": API,
            "ready_s": offer.ready_s,
            "latest": recent.latest(current_user(request).id, card.id, LATEST),
        },
    }
    return render(request, "dashboard/playground/model.html", context)
