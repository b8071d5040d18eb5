"""Stop strings: the answer ends where one begins, and none of it is ever shown."""

from collections.abc import Sequence


class Stops:
    """Scans one answer for the first stop string as its text comes."""

    def __init__(self, stops: Sequence[str]) -> None:
        # An empty one would end every answer before it begins.
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """The text that may be shown, and whether a stop string has come."""
        if not self._stops:
            return text, False
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            shown, self._held = self._held[: min(places)], ""
            return shown, True
        keep = max(self._beginning(stop) for stop in self._stops)
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(shown) :]
        return shown, False

    def finish(self) -> str:
        """What was held back in case it was a stop string."""
        shown, self._held = self._held, ""
        return shown

    def _beginning(self, stop: str) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = min(len(self._held), len(stop) - 1)
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
