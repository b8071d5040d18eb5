"""What there is to call and what it costs, for everybody: cards, and the prices in force."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from billing import payments, prices
from billing.pricing import UNITS, Price
from inference.catalog import Card
from inference.sound import voices
from inference.types import Kind
from modelpilot.dashboard.samples import curl_of
from modelpilot.dashboard.tags import dollars
from modelpilot.fleet import deployments
from modelpilot.fleet.catalog import cards, price_of

# In the order in which people look for them; the words are those of the pages.
KINDS: dict[str, tuple[str, str]] = {
    Kind.TEXT: ("Chat and text", "chat"),
    Kind.IMAGE: ("Pictures", "image"),
    Kind.VIDEO: ("Video", "film"),
    Kind.AUDIO: ("Speech", "sound"),
    Kind.TRANSCRIPTION: ("Transcription", "book"),
    Kind.EMBEDDING: ("Embeddings", "cube"),
}
# The page of the documentation that each is explained on.
GUIDES: dict[str, str] = {
    Kind.TEXT: "chat",
    Kind.IMAGE: "images",
    Kind.VIDEO: "videos",
    Kind.AUDIO: "speech",
    Kind.TRANSCRIPTION: "transcriptions",
    Kind.EMBEDDING: "embeddings",
}
# What a page calls the phase of a deployment's most advanced pod, and the badge's colour.
STATES = {
    "ready": ("Warm", "ok"),
    "loading": ("Loading", "info live"),
    "downloading": ("Downloading", "info live"),
    "starting": ("Starting", "info live"),
    "cold": ("Cold", ""),
    "stopped": ("Stopped", "warn"),
    "absent": ("Not deployed", ""),
}
MEANINGS = {
    "ready": "It is in memory and answers at once.",
    "cold": "It is loaded when a request comes: the first one waits a little longer.",
    "stopped": "The operator has stopped it for now.",
    "absent": "It is in the catalog, but not served here.",
}
LOADING = "It is on its way into memory."
# Made by the models themselves: see static/modelpilot/gallery/README.md.
PICTURES: dict[str, list[tuple[str, str]]] = {
    "emoji-64": [
        ("modelpilot/gallery/apple.webp", "a red apple on a white background"),
        ("modelpilot/gallery/fox.webp", "a fox on a green background"),
        ("modelpilot/gallery/rocket.webp", "a rocket on a blue background"),
        ("modelpilot/gallery/frog.webp", "a green frog on a white background"),
        ("modelpilot/gallery/car.webp", "a blue car on a yellow background"),
        ("modelpilot/gallery/strawberry.webp", "a strawberry on a pink background"),
    ],
}
FILMS: dict[str, list[tuple[str, str]]] = {
    "emoji-64-video": [("modelpilot/gallery/fox.mp4", "a fox drifting to the left")],
}
SOUNDS: dict[str, list[tuple[str, str]]] = {
    "piper-joe": [
        (
            "modelpilot/gallery/piper-joe.mp3",
            "Hello. This is the voice of Piper, made on an ordinary processor.",
        )
    ],
}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a price: `$0.002` `per second of film`, and from where on it counts."""

    text: str
    unit: str
    above: str = ""


@dataclass(frozen=True, slots=True)
class Priced:
    """A model and what it costs, for any page."""

    card: Card
    price: Price

    @property
    def kind(self) -> str:
        return KINDS[self.card.kind][0]

    @property
    def icon(self) -> str:
        return KINDS[self.card.kind][1]

    @property
    def parts(self) -> list[Part]:
        return parts(self.price, self.card)

    @property
    def pictures(self) -> list[tuple[str, str]]:
        return PICTURES.get(self.card.id, [])


@dataclass(frozen=True, slots=True)
class Shown(Priced):
    """A model as these pages show it."""

    state: str
    word: str
    colour: str

    @property
    def meaning(self) -> str:
        return MEANINGS.get(self.state, LOADING)

    @property
    def served(self) -> bool:
        return self.state not in ("stopped", "absent")

    @property
    def films(self) -> list[tuple[str, str]]:
        return FILMS.get(self.card.id, [])

    @property
    def sounds(self) -> list[tuple[str, str]]:
        return SOUNDS.get(self.card.id, [])


def all_models() -> list[Shown]:
    """Every card, those that are served first, in the catalog's order."""
    changed = prices.in_force()
    states = {
        serving.model: serving.phase or "cold" if serving.running else "stopped"
        for serving in deployments.all_serving()
    }
    found = [shown(card, changed, states) for card in cards().cards.values()]
    return sorted(found, key=lambda each: not each.served)


def shown(card: Card, changed: Mapping[str, dict[str, int]], states: Mapping[str, str]) -> Shown:
    state = states.get(card.id, "absent")
    return Shown(card, price_of(card, changed.get(card.id)), state, *STATES[state])


def parts(price: Price, card: Card) -> list[Part]:
    """All of a price, as people read it."""
    above = {
        "megapixels": f"above {card.parameters['width'].default:g} × "  # noqa: RUF001
        f"{card.parameters['height'].default:g} pixels"
        if price.megapixels
        else "",
        "steps": f"above {price.base_steps} steps" if price.steps else "",
    }
    return [
        Part(dollars(getattr(price, name)), f"per {UNITS[name]}", above.get(name, ""))
        for name in price.parts()
    ]


def by_kind(found: Iterable[Shown]) -> list[tuple[str, str, list[Shown]]]:
    """(heading, icon, models) of each kind that has any."""
    every = list(found)
    groups = [(*KINDS[kind], [each for each in every if each.card.kind == kind]) for kind in KINDS]
    return [group for group in groups if group[2]]


def models(request: HttpRequest) -> HttpResponse:
    found = all_models()
    context = {
        "groups": by_kind(found),
        "served": sum(each.served for each in found),
        "total": len(found),
    }
    return render(request, "models.html", context)


def model(request: HttpRequest, name: str) -> HttpResponse:
    card = cards().find(name)
    if card is None:
        raise Http404
    if card.id != name:
        return redirect("model", card.id)
    one = next(each for each in all_models() if each.card is card)
    context = {
        "model": one,
        "abilities": abilities(card),
        "ranges": card.parameters,
        "voices": voices_of(card),
        "sample": curl_of(card),
        "guide": GUIDES[card.kind],
    }
    return render(request, "model.html", context)


def pricing(request: HttpRequest) -> HttpResponse:
    context = {"groups": by_kind(all_models()), "payments": payments.configured()}
    return render(request, "pricing.html", context)


MODES = {
    "text": "From words",
    "image": "From a picture and words (image, strength)",
    "mask": "Only where a mask allows it (mask)",
}


def abilities(card: Card) -> list[str]:
    """What can be asked of the model, in a few words each."""
    options = card.options
    said: list[str] = []
    match card.kind:
        case Kind.TEXT:
            said = [
                "Streams its answer as it is written",
                "JSON, also by a schema (response_format)",
                *(["Calls your functions (tools)"] if options.get("tools", True) else []),
                f"Prompt and answer together up to {card.context:,} tokens",
            ]
        case Kind.IMAGE | Kind.VIDEO:
            said = [MODES[mode] for mode in options.get("modes", ["text"]) if mode in MODES]
            if options.get("negative_prompt"):
                said.append("Negative prompts")
            said.append("The same picture again by its seed")
            if card.kind is Kind.VIDEO:
                said[-1] = "H.264 in MP4, the same film again by its seed"
        case Kind.AUDIO:
            said = ["MP3, WAV, Opus, FLAC, AAC and PCM", "Sounds while it is still speaking"]
            if options.get("mixing"):
                said.append("Voices can be mixed")
            if options.get("cloning"):
                said.append("Speaks with the voice of a recording (audio_prompt)")
        case Kind.EMBEDDING:
            said = ["Many texts in one request", f"Up to {card.context:,} tokens a text"]
        case Kind.TRANSCRIPTION:
            said = [
                "JSON, text, SRT and VTT",
                f"Recordings of up to {(card.max_seconds or 0) // 60} minutes",
                "Streams its text",
            ]
    return said


def voices_of(card: Card) -> list[voices.Voice]:
    if card.kind is not Kind.AUDIO:
        return []
    return voices.listed(card, settings.MODELS, settings.CACHE)
