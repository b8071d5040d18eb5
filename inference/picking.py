"""Which of a card's ways to run its model is taken on some hardware."""

from collections.abc import Callable
from dataclasses import dataclass

from inference.catalog import Card

# Says why a way can't be taken, or None.
Obstacle = Callable[[Card], str | None]

# A model answers faster on a GPU than anywhere else.
PREFERENCE = {"cuda": 0, "cpu": 1}


@dataclass(frozen=True, slots=True)
class Picked:
    """The way that is taken, as a card, and why; `obstacle` says what is in its way, if anything.

    `passed` are the others that can't be taken, with the reason.
    """

    card: Card
    why: str
    obstacle: str | None = None
    passed: tuple[tuple[Card, str], ...] = ()


def pick(card: Card, obstacle: Obstacle, engine: str = "") -> Picked:
    """The best way without obstacle: on a GPU before on the CPU, then in the card's order.

    `obstacle` says why a way can't be taken. With `engine` the operator has chosen that one.
    """
    ways = sorted(card.ways, key=lambda way: PREFERENCE[way.device])
    if engine:
        ways = [way for way in ways if way.engine == engine] or card.ways[:1]
    reasons = [(way, obstacle(way)) for way in ways]
    passed = tuple((way, reason) for way, reason in reasons if reason is not None)
    fitting = [way for way, reason in reasons if reason is None]
    if not fitting:
        way, reason = (reasons if engine else [(way, obstacle(way)) for way in card.ways])[0]
        return Picked(way, "nothing fits", reason, passed)
    way = fitting[0]
    if engine:
        why = "the operator chose it"
    elif len(card.ways) == 1:
        why = "the only engine of this model"
    elif way.device == "cuda":
        why = "a GPU has room for it"
    elif passed:
        why = "the first that fits here"
    else:
        why = "the card's first choice on the CPU"
    return Picked(way, why, None, passed)
