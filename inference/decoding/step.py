"""What one run of the model reads: plain numbers, which can be sent to other processes."""

from collections.abc import Sequence
from dataclasses import dataclass

# How many tokens a page of the cache holds.
PAGE = 16


@dataclass(frozen=True, slots=True)
class Part:
    """The tokens of one sequence that a step reads, the first of them at place `start`.

    `pages` hold the sequence up to its last one here. `kept`: what follows that one is wanted.
    """

    tokens: Sequence[int]
    start: int
    pages: Sequence[int]
    kept: bool

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    def slots(self) -> list[int]:
        """Where in the cache each token's keys and values go."""
        return [
            self.pages[place // PAGE] * PAGE + place % PAGE for place in range(self.start, self.end)
        ]


# Sequences that get one token come first, so that they can attend together.
Step = Sequence[Part]


def pages_for(tokens: int) -> int:
    """How many pages so many tokens take."""
    return -(-tokens // PAGE)
