"""What to ask a model, for those who have nothing in mind: a click puts it into the form."""

from dataclasses import dataclass

from inference.catalog import Card
from inference.types import Kind
from modelpilot.dashboard.gallery import PICTURES, SOUNDS

QUESTIONS = """\
How do I reset my password?
I can't sign in any more.
Where is my parcel?
The invoice shows a wrong amount."""
# For any model of the kind.
USUAL: dict[str, list[str]] = {
    Kind.TEXT: [
        "What is the capital of France?",
        "Explain to a child why the sky is blue.",
        "Write a friendly reply to a customer whose parcel is late.",
    ],
    Kind.IMAGE: [
        "a lighthouse at dusk, oil painting",
        "a bowl of ramen on a wooden table, photograph",
        "a fox in a snowy forest, flat illustration",
    ],
    Kind.VIDEO: ["waves on a beach at sunset", "a paper boat drifting down a small stream"],
    Kind.AUDIO: [
        "The first words sound while the rest is still being spoken.",
        "Your order has been shipped. It will arrive on Thursday, between nine and noon.",
    ],
    Kind.EMBEDDING: [QUESTIONS],
}
# For models that know less than the others of their kind.
OWN: dict[str, list[str]] = {
    "emoji-64-video": [
        "a fox drifting to the left",
        "a growing red heart",
        "a rocket moving up on a blue background",
    ],
}


@dataclass(frozen=True, slots=True)
class Example:
    """`words` for the form, or a recording; `picture` is what a model made of them."""

    words: str
    picture: str = ""
    recording: str = ""

    @property
    def label(self) -> str:
        return self.words.partition("\n")[0]


def of_card(card: Card) -> list[Example]:
    """A few of them, those that have a picture before all others."""
    if card.kind is Kind.TRANSCRIPTION:
        return [
            Example(words, recording=file) for sounds in SOUNDS.values() for file, words in sounds
        ]
    if pictures := PICTURES.get(card.id):
        return [Example(words, file) for file, words in pictures]
    return [Example(words) for words in OWN.get(card.id, USUAL.get(card.kind, []))]
