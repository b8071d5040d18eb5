"""The playground: every deployed model behind a form, and what one made with it lately.

The forms call the API with the session's cookie, see static/modelpilot/playground.js.
"""

from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from inference.catalog import Card
from inference.types import Kind
from modelpilot.dashboard.fields import fields_of, main_field, shapes
from modelpilot.dashboard.samples import API
from modelpilot.dashboard.shell import current_user, may_deploy, signed_in
from modelpilot.fleet import deployments, eta, facts
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.turns import LONGEST_S
from modelpilot.jobs import recent

KINDS = {
    Kind.TEXT: ("Chat", "chat"),
    Kind.IMAGE: ("Pictures", "image"),
    Kind.AUDIO: ("Speech", "sound"),
    Kind.VIDEO: ("Video", "film"),
}
ROUTES = {
    Kind.TEXT: "chat/completions",
    Kind.IMAGE: "generate/image",
    Kind.AUDIO: "audio/speech",
    Kind.VIDEO: "generate/video",
}
LATEST = 12


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be tried. `ready_s`: seconds until it can begin, 0 where it is loaded."""

    card: Card
    ready_s: float

    @property
    def icon(self) -> str:
        return KINDS[self.card.kind][1]

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
    """Every model that is served, in the order of the catalog."""
    now = facts.gather()
    served = {serving.model: serving.id for serving in deployments.all_serving()}
    found = []
    for card in cards().cards.values():
        ahead = eta.outlook(served[card.id], now) if card.id in served else None
        if ahead is not None and card.kind in ROUTES:
            found.append(Offer(card, ahead.ready_s))
    return found


def by_kind(found: list[Offer]) -> list[tuple[str, list[Offer]]]:
    groups = [
        (label, [offer for offer in found if offer.card.kind is kind])
        for kind, (label, _) in KINDS.items()
    ]
    return [(label, offers) for label, offers in groups if offers]


@signed_in
def playground(request: HttpRequest) -> HttpResponse:
    """What there is to try."""
    context = {"kinds": by_kind(offers()), "may_deploy": may_deploy(current_user(request))}
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
        "kinds": by_kind(found),
        "main": main_field(card),
        "basic": [field for field in fields if not field.advanced],
        "advanced": [field for field in fields if field.advanced],
        "shapes": shapes(card),
        "about": {
            "model": card.id,
            "kind": card.kind.value,
            "route": ROUTES[card.kind],
            "api": API,
            "ready_s": offer.ready_s,
            "latest": recent.latest(current_user(request).id, card.id, LATEST),
        },
    }
    return render(request, "dashboard/playground/model.html", context)
