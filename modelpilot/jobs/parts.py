"""The parts of an answer, as in `inference.types.Delta`: "content", "reasoning", "call.0", ….

An event of type "delta" is a piece of one: {"type", "index", "part", "offset", "text"}, where
`offset` counts the part's characters; with "call" ({"id", "name"}) if the part is one, and with
"logprobs" ({"offset", "content"}, counted in tokens) if they were asked for.
"""

from dataclasses import dataclass, field
from typing import Any

from inference.types import Call, Delta

Event = dict[str, Any]
Logprobs = list[dict[str, Any]]


@dataclass(slots=True)
class Part:
    """One part as far as it was said, and how much of that was sent, in characters and tokens."""

    call: Call | None = None
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    logprobs: Logprobs = field(default_factory=list)
    sent: int = 0
    sent_logprobs: int = 0
    # There is something that was not sent, perhaps only which tool is called.
    fresh: bool = True

    def add(self, delta: Delta) -> None:
        self.pieces.append(delta.text)
        self.length += len(delta.text)
        self.logprobs += delta.logprobs
        self.fresh = True

    def text(self) -> str:
        # Pieces are kept, not one growing string: appending stays linear.
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]
        return self.pieces[0]

    def take(self, index: int, name: str, *, anew: bool) -> Event:
        """What was not sent yet, or all of it."""
        start, known = (0, 0) if anew else (self.sent, self.sent_logprobs)
        self.sent, self.sent_logprobs, self.fresh = self.length, len(self.logprobs), False
        event = piece(index, name, start, self.text()[start:])
        if self.call is not None:
            event["call"] = {"id": self.call.id, "name": self.call.name}
        if self.logprobs:
            event["logprobs"] = {"offset": known, "content": self.logprobs[known:]}
        return event

    def tool_call(self) -> dict[str, Any]:
        """A call in OpenAI's shape."""
        assert self.call is not None
        function = {"name": self.call.name, "arguments": self.text()}
        return {"id": self.call.id, "type": "function", "function": function}


def piece(index: int, part: str, offset: int, text: str) -> Event:
    return {"type": "delta", "index": index, "part": part, "offset": offset, "text": text}


def choices(parts: dict[tuple[int, str], Part], finish_reason: str) -> list[dict[str, Any]]:
    """The answers in the shape of `inference.types.Result`, of parts by index and name."""
    found: dict[int, dict[str, Any]] = {}
    for (index, name), part in parts.items():
        choice = found.setdefault(index, {"index": index, "text": ""})
        if part.call is not None:
            choice.setdefault("tool_calls", []).append(part.tool_call())
        elif name == "reasoning":
            choice["reasoning"] = part.text()
        else:
            choice["text"] = part.text()
            if part.logprobs:
                choice["logprobs"] = {"content": list(part.logprobs)}
    return [{**found[index], "finish_reason": finish_reason} for index in sorted(found)]


def deltas(choice: dict[str, Any]) -> list[Event]:
    """The other way: each part of a result's answer as one event."""
    index = choice["index"]
    events = []
    if choice.get("reasoning"):
        events.append(piece(index, "reasoning", 0, choice["reasoning"]))
    logprobs = (choice.get("logprobs") or {}).get("content")
    if choice["text"] or logprobs:
        content = piece(index, "content", 0, choice["text"])
        if logprobs:
            content["logprobs"] = {"offset": 0, "content": logprobs}
        events.append(content)
    for number, tool in enumerate(choice.get("tool_calls") or ()):
        call = piece(index, f"call.{number}", 0, tool["function"]["arguments"])
        events.append({**call, "call": {"id": tool["id"], "name": tool["function"]["name"]}})
    return events


@dataclass(slots=True)
class Reach:
    """How much of each part a follower has, in characters and in tokens with logprobs."""

    parts: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)

    def note(self, delta: Event) -> None:
        """The follower gets this delta."""
        logprobs = delta.get("logprobs")
        self.parts[delta["index"], delta["part"]] = (
            delta["offset"] + len(delta["text"]),
            logprobs["offset"] + len(logprobs["content"]) if logprobs else 0,
        )

    def rest(self, delta: Event) -> Event | None:
        """What it lacks of a delta, if anything; of one with a gap before it nothing, as the
        row will have what was lost."""
        had = self.parts.get((delta["index"], delta["part"]))
        if had is None:
            return None if delta["offset"] else delta
        chars, tokens = had
        skip = chars - delta["offset"]
        if skip < 0:
            return None
        rest = {**delta, "offset": chars, "text": delta["text"][skip:]}
        logprobs = delta.get("logprobs")
        if logprobs:
            new = logprobs["content"][max(0, tokens - logprobs["offset"]) :]
            rest["logprobs"] = {"offset": tokens, "content": new}
            return rest if rest["text"] or new else None
        return rest if rest["text"] else None
