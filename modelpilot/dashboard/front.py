"""The public front page."""

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from inference.types import Kind
from modelpilot.dashboard.gallery import FILMS, PICTURES, SOUNDS, Shown, all_models, by_kind
from modelpilot.dashboard.samples import curl
from modelpilot.fleet.catalog import cards

# What is asked there, of which model, and where what came of it lies; the models did make it.
SHOWN = {
    Kind.TEXT: (
        "smollm2-135m",
        "What is the capital of France?",
        "The capital of France is Paris.",
    ),
    Kind.IMAGE: ("emoji-64", PICTURES["emoji-64"][1][1], PICTURES["emoji-64"][1][0]),
    Kind.AUDIO: ("piper-joe", SOUNDS["piper-joe"][0][1], SOUNDS["piper-joe"][0][0]),
    Kind.VIDEO: ("emoji-64-video", FILMS["emoji-64-video"][0][1], FILMS["emoji-64-video"][0][0]),
}


@dataclass(frozen=True, slots=True)
class Demo:
    """One request and what came of it: a text, or a file among the static ones."""

    model: Shown
    code: str
    words: str
    made: str

    @property
    def kind(self) -> Kind:
        return self.model.card.kind

    @property
    def label(self) -> str:
        return {Kind.TEXT: "Chat", Kind.IMAGE: "Picture"}.get(self.kind, self.model.kind)


def front(request: HttpRequest) -> HttpResponse:
    """What there is, from the catalog, and what models of it have made."""
    drawn = [
        (model, file, prompt)
        for model, pictures in PICTURES.items()
        if model in cards().cards
        for file, prompt in pictures
    ]
    found = all_models()
    context = {"groups": by_kind(found), "pictures": drawn, "demos": demos(found)}
    return render(request, "front.html", context)


def demos(found: list[Shown]) -> list[Demo]:
    """Of the models that this catalog has."""
    there = {each.card.id: each for each in found}
    return [
        Demo(there[model], curl(kind, model, words), words, made)
        for kind, (model, words, made) in SHOWN.items()
        if model in there
    ]
