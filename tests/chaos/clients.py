"""What people ask of a system while it is broken, and what they were told.

Every request has an Idempotency-Key, and whoever gets no answer asks again under it, as the
guide tells people to.
"""

import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.api.caller import Caller
from tests.api.test_events import Follower

LATER = {"Prefer": "respond-async"}
# No request may take longer, whatever happens to the system.
PATIENCE_S = 300.0
PAUSE_S = 0.4
FRANCE = "What is the capital of France?"
TOKENS_OF_FOLLOWED = 2000
RECONNECTS = 20


@dataclass
class Asked:
    """One request, however often it was sent."""

    email: str
    kind: str
    key: str
    # What the echo must have said, where it is one.
    expected: str | None = None
    # What the client has in its hands at the end.
    read: str | None = None
    # The product has said that it took it.
    accepted: bool = False
    # Statuses and broken connections, in order.
    answers: list[str] = field(default_factory=list)
    seconds: float = 0.0
    gave_up: bool = False
    # Answers that nobody should ever get.
    improper: list[str] = field(default_factory=list)

    def heard(self, answer: requests.Response) -> None:
        """A system in trouble says so, and when to come again; it never falls over."""
        status = answer.status_code
        self.answers.append(str(status))
        says_when = "Retry-After" in answer.headers or "x-should-retry" in answer.headers
        if status == 500 or (status > 500 and not says_when):
            self.improper.append(f"{self.key}: {status} {answer.text[:200]}")


@dataclass
class Client:
    """One person, doing one thing after another until `stop`."""

    email: str
    caller: Caller
    random: random.Random
    stop: threading.Event
    asked: list[Asked] = field(default_factory=list)
    # What went wrong in here; nothing may.
    faults: list[str] = field(default_factory=list)

    def live(self, weights: dict[str, int]) -> None:
        doing: dict[str, Callable[[Asked], None]] = {
            "chat": self.chat,
            "stream": self.stream,
            "later": self.later,
            "cancelled": self.cancelled,
            "followed": self.followed,
            "talk": self.talk,
            "speech": self.speech,
            "picture": self.picture,
        }
        while not self.stop.is_set():
            kind = self.random.choices(list(weights), list(weights.values()))[0]
            self.do(kind, doing[kind])

    def do(self, kind: str, work: Callable[[Asked], None]) -> Asked:
        asked = Asked(self.email, kind, f"{kind}-{uuid.UUID(int=self.random.getrandbits(128))}")
        self.asked.append(asked)
        begun = time.monotonic()
        try:
            work(asked)
        except Exception as error:  # a thread that dies unseen proves nothing
            self.faults.append(f"{kind}: {error!r}")
        asked.seconds = time.monotonic() - begun
        return asked

    def send(
        self, asked: Asked, path: str, body: dict[str, Any], **headers: str
    ) -> requests.Response | None:
        """Until there is an answer that stays; None when patience is over."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                answer = self.caller.post(
                    path, body, headers={"Idempotency-Key": asked.key, **headers}
                )
            except requests.RequestException as error:
                asked.answers.append(type(error).__name__)
            else:
                asked.heard(answer)
                # What is said again stays, a failure too.
                told = {"x-should-retry": "false", "Idempotent-Replayed": "true"}
                stays = any(answer.headers.get(name) == value for name, value in told.items())
                if answer.status_code < 500 or stays:
                    asked.accepted |= answer.status_code in (200, 202)
                    return answer
            time.sleep(PAUSE_S)
        asked.gave_up = True
        return None

    def says(self, asked: Asked, tokens: int) -> dict[str, Any]:
        """A chat with the slow echo that nobody else has."""
        word = asked.key[-12:]
        asked.expected = f"{word} says " * (tokens // 2)
        return {
            "model": "echo-slow",
            "messages": [{"role": "user", "content": f"{word} says"}],
            "max_tokens": tokens,
        }

    def chat(self, asked: Asked) -> None:
        answer = self.send(asked, "chat/completions", self.says(asked, self.random.choice([4, 40])))
        if answer is not None and answer.status_code == 200:
            asked.read = answer.json()["choices"][0]["message"]["content"]

    def stream(self, asked: Asked) -> None:
        body = self.says(asked, 40)
        headers = {"Idempotency-Key": asked.key}
        words = body["messages"][0]["content"]
        try:
            with self.caller.stream(words, "echo-slow", max_tokens=40, headers=headers) as lines:
                asked.answers.append(str(lines.response.status_code))
                if lines.response.status_code == 200:
                    asked.accepted = True
                    said = lines.text()
                    # A stream that ends with an error says so, and its job is not charged.
                    asked.read = said if said == asked.expected else None
        except (requests.RequestException, AssertionError, KeyError) as error:
            asked.answers.append(type(error).__name__)

    def later(self, asked: Asked) -> None:
        body = self.says(asked, self.random.choice([20, 60, 120]))
        self.send(asked, "chat/completions", body, **LATER)

    def cancelled(self, asked: Asked) -> None:
        answer = self.send(asked, "chat/completions", self.says(asked, 200), **LATER)
        if answer is None or answer.status_code != 202:
            return
        time.sleep(self.random.random() * 2)
        path = f"jobs/{answer.json()['id']}/cancel"
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                if self.caller.post(path).status_code < 500:
                    return
            except requests.RequestException:
                pass
            time.sleep(PAUSE_S)
        asked.gave_up = True

    def followed(self, asked: Asked) -> None:
        """A long answer, read through twenty connections and whatever else breaks them."""
        body = self.says(asked, TOKENS_OF_FOLLOWED) | {"model": "echo:bench"}
        answer = self.send(asked, "chat/completions", body, **LATER)
        if answer is None or answer.status_code != 202:
            return
        follower = Follower(self.caller, answer.json()["id"])
        until = time.monotonic() + PATIENCE_S
        while follower.end is None and time.monotonic() < until:
            try:
                follower.follow(most=TOKENS_OF_FOLLOWED // RECONNECTS)
                asked.answers.append("hung up")
            except (requests.RequestException, AssertionError) as error:
                asked.answers.append(type(error).__name__)
                time.sleep(PAUSE_S)
        asked.gave_up = follower.end is None
        asked.read = follower.text

    def talk(self, asked: Asked) -> None:
        body = {
            "model": "smollm2-135m",
            "messages": [{"role": "user", "content": FRANCE}],
            "max_tokens": 20,
            "temperature": 0,
        }
        answer = self.send(asked, "chat/completions", body)
        if answer is not None and answer.status_code == 200:
            asked.read = answer.json()["choices"][0]["message"]["content"]

    def speech(self, asked: Asked) -> None:
        body = {"model": "piper-joe", "text": "The weather is very nice today."}
        self.send(asked, "generate/audio", body, **LATER)

    def picture(self, asked: Asked) -> None:
        body = {"model": "emoji-64", "prompt": "a red apple", "seed": 1, "steps": 8}
        self.send(asked, "generate/image", body, **LATER)

    def poison(self, asked: Asked) -> None:
        body = {"model": "poison", "messages": [{"role": "user", "content": "[exit]"}]}
        self.send(asked, "chat/completions", body, **LATER)

    def beside_poison(self, asked: Asked) -> None:
        asked.expected = "well " * 40
        body = {
            "model": "poison",
            "messages": [{"role": "user", "content": "well"}],
            "max_tokens": 40,
        }
        self.send(asked, "chat/completions", body, **LATER)

    def probe(self, asked: Asked) -> None:
        """Of an idle, warm pod: how soon it hears of a job is the bell's doing."""
        body = {
            "model": "echo",
            "messages": [{"role": "user", "content": "here"}],
            "max_tokens": 1,
        }
        self.send(asked, "chat/completions", body)
