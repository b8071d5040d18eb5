"""Which of a card's ways to run its model is taken on some hardware."""

from collections.abc import Callable
from dataclasses import dataclass

from inference.catalog import Card

# Says why a way can't be taken, or None.
Obstacle = Callable[[Card], str | None]

# A model answers faster on a GPU than anywhere else.
PREFERENCE = {"cuda": 0, "cpu": 1}


@dataclass(frozen=True, slots=True)
class Choice:
    """What an operator wants of a way; nothing of it: what fits the hardware best."""

    engine: str = ""
    devices: int | None = None

    def allows(self, way: Card) -> bool:
        return self.engine in ("", way.engine) and self.devices in (None, way.devices)


ANY = Choice()


@dataclass(frozen=True, slots=True)
class Picked:
    """The way that is taken, as a card, and why; `obstacle` says what is in its way, if anything.

    `passed` are the others that can't be taken, with the reason.
    """

    card: Card
    why: str
    obstacle: str | None = None
    passed: tuple[tuple[Card, str], ...] = ()


def pick(card: Card, obstacle: Obstacle, choice: Choice = ANY) -> Picked:
    """The best way without obstacle: on a GPU before on the CPU, then in the card's order.

    `obstacle` says why a way can't be taken. The operator's `choice` leaves only some ways.
    """
    ways = sorted(card.ways, key=lambda way: PREFERENCE[way.device])
    if choice != ANY:
        ways = [way for way in ways if choice.allows(way)] or card.ways[:1]
    reasons = [(way, obstacle(way)) for way in ways]
    passed = tuple((way, reason) for way, reason in reasons if reason is not None)
    fitting = [way for way, reason in reasons if reason is None]
    if not fitting:
        own = reasons if choice != ANY else [(way, obstacle(way)) for way in card.ways]
        way, reason = own[0]
        return Picked(way, "nothing fits", reason, passed)
    return Picked(fitting[0], why(card, fitting[0], choice, bool(passed)), None, passed)


def why(card: Card, way: Card, choice: Choice, some_passed: bool) -> str:
    """The reason for this way, as the end of a sentence."""
    if choice != ANY:
        return "the operator chose it"
    if len(card.ways) == 1:
        return "the only engine of this model"
    if way.device == "cuda":
        return "a GPU has room for it" if way.devices == 1 else "it fits if GPUs share it"
    return "the first that fits here" if some_passed else "the card's first choice on the CPU"
