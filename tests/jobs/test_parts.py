"""A follower ends with every part of every answer, whatever is lost, repeated or sent again."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from inference.types import Call, Delta
from modelpilot.jobs import parts
from modelpilot.jobs.ids import new_id
from modelpilot.jobs.parts import Event, Reach
from modelpilot.jobs.stream import Publisher

CALLS = [Call("id0", "get_weather"), Call("id1", "get_time")]
TEXTS = st.text("ab é🎈", max_size=4)


def entry(number: int) -> dict[str, Any]:
    return {"token": str(number), "logprob": -0.5, "bytes": None, "top_logprobs": []}


CONTENT = st.builds(
    lambda index, text, numbers: Delta(text, index, logprobs=[entry(n) for n in numbers]),
    st.integers(0, 1),
    TEXTS,
    st.lists(st.integers(0, 9), max_size=2),
)
THOUGHTS = st.builds(lambda index, text: Delta(text, index, "reasoning"), st.integers(0, 1), TEXTS)
CALLING = st.builds(
    lambda index, number, text: Delta(text, index, f"call.{number}", call=CALLS[number]),
    st.integers(0, 1),
    st.integers(0, 1),
    TEXTS,
)
# What happens to a job: it says something, what it said is told or lost, Valkey forgets.
STEPS = st.lists(CONTENT | THOUGHTS | CALLING | st.sampled_from(["tell", "lose", "forget"]))


@dataclass
class Follower:
    """What a client of a stream has: text and logprobs by part, and the calls it was told."""

    reach: Reach = field(default_factory=Reach)
    texts: dict[tuple[int, str], str] = field(default_factory=dict)
    logprobs: dict[int, list[Any]] = field(default_factory=dict)
    calls: dict[tuple[int, str], dict[str, str]] = field(default_factory=dict)

    def hear(self, delta: Event) -> None:
        new = self.reach.rest(delta)
        if new is None:
            return
        part = new["index"], new["part"]
        if "call" in new and part not in self.reach.parts:
            assert part not in self.calls
            self.calls[part] = new["call"]
        self.reach.note(new)
        self.texts[part] = self.texts.get(part, "") + new["text"]
        if "logprobs" in new:
            self.logprobs.setdefault(new["index"], []).extend(new["logprobs"]["content"])


@given(STEPS)
def test_nothing_is_missing_and_nothing_comes_twice(steps: list[Any]) -> None:
    # Never started, and never connected: the flushes are made here.
    channel = Publisher(Redis()).open(new_id(), 1)
    follower = Follower()
    said: dict[tuple[int, str], str] = {}
    logprobs: dict[int, list[Any]] = {}
    for step in steps:
        if isinstance(step, Delta):
            if step.part == "call.1" and (step.index, "call.0") not in said:
                # Engines count calls from 0.
                continue
            channel.delta(step)
            part = step.index, step.part
            said[part] = said.get(part, "") + step.text
            if step.logprobs:
                logprobs.setdefault(step.index, []).extend(step.logprobs)
        elif step == "forget":
            channel.resend = True
        else:
            events = channel.take()
            channel.resend = False
            for event in events if step == "tell" else ():
                follower.hear(event)
    for choice in channel.choices("stop"):
        for delta in parts.deltas(choice):
            follower.hear(delta)
    assert follower.logprobs == logprobs
    assert {part: text for part, text in follower.texts.items() if text} == {
        part: text for part, text in said.items() if text
    }
    assert follower.calls.keys() == {part for part in said if part[1].startswith("call")}


def test_an_answer_has_its_parts_in_their_places() -> None:
    channel = Publisher(Redis()).open(new_id(), 1)
    for delta in (
        Delta("so ", part="reasoning"),
        Delta("Hello", index=1),
        Delta('{"a":', part="call.0", call=CALLS[0]),
        Delta("", part="call.1", call=CALLS[1]),
        Delta("1}", part="call.0", call=CALLS[0]),
        Delta("Hi", logprobs=[entry(1)]),
    ):
        channel.delta(delta)
    first, second = channel.choices("cancelled")
    assert first == {
        "index": 0,
        "text": "Hi",
        "reasoning": "so ",
        "tool_calls": [
            {
                "id": "id0",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"a":1}'},
            },
            {"id": "id1", "type": "function", "function": {"name": "get_time", "arguments": ""}},
        ],
        "logprobs": {"content": [entry(1)]},
        "finish_reason": "cancelled",
    }
    assert second == {"index": 1, "text": "Hello", "finish_reason": "cancelled"}
