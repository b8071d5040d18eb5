"""Following a job: complete over any number of reconnects, and leaving harms nothing."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.api.caller import TIMEOUT_S, Caller, error_of
from tests.api.conftest import NewCaller

LATER = {"Prefer": "respond-async"}


@dataclass
class Follower:
    """What a client keeps between two connections: its text, and the last event's id."""

    caller: Caller
    job: str
    text: str = ""
    last: str = ""
    names: list[str] = field(default_factory=list)
    end: dict[str, Any] | None = None

    def follow(self, most: int = 10**9) -> None:
        """Read on for at most this many events, then hang up."""
        for number, (name, data) in enumerate(self.events(), 1):
            self.names.append(name)
            if name == "delta":
                self.text = self.text[: data["offset"]] + data["text"]
            if name == "end":
                self.end = data
            if number >= most or name == "end":
                return

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        headers = {"Authorization": f"Bearer {self.caller.key}"}
        if self.last:
            headers["Last-Event-ID"] = self.last
        url = f"{self.caller.base_url}/api/v1/jobs/{self.job}/events"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            assert response.status_code == 200
            event: dict[str, str] = {}
            for line in response.iter_lines(chunk_size=1, decode_unicode=True):
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif event:
                    self.last = event["id"]
                    yield event["event"], json.loads(event["data"])
                    event = {}


def later(caller: Caller, words: str, **options: Any) -> str:
    job: str = caller.chat(words, headers=LATER, **options).json()["id"]
    return job


def result(job: dict[str, Any] | None) -> str:
    assert job is not None
    text: str = job["result"]["choices"][0]["text"]
    return text


def test_a_finished_job_is_told_at_once(alice: Caller) -> None:
    job = alice.chat("one two", max_tokens=2).json()["id"]
    follower = Follower(alice, job)
    follower.follow()
    assert follower.text == "one two "
    assert follower.end == alice.job(job)


def test_text_is_complete_over_many_reconnects(alice: Caller) -> None:
    # 60 tokens at 20 a second; hangs up six times on the way.
    follower = Follower(alice, later(alice, "a b c d e", model="echo-slow", max_tokens=60))
    for _ in range(6):
        follower.follow(most=5)
        assert follower.end is None
    follower.follow()
    assert follower.text == result(follower.end) == "a b c d e " * 12
    assert "state" in follower.names
    assert follower.end is not None
    assert follower.end["state"] == "succeeded"


def test_leaving_cancels_nothing(alice: Caller) -> None:
    job = later(alice, "a b", model="echo-slow", max_tokens=30)
    Follower(alice, job).follow(most=3)
    assert alice.ended(job)["state"] == "succeeded"


def test_two_may_follow_at_once(alice: Caller) -> None:
    job = later(alice, "a b c", model="echo-slow", max_tokens=15)
    first, second = Follower(alice, job), Follower(alice, job)
    first.follow()
    second.follow()
    assert first.text == second.text == "a b c " * 5


def test_an_old_id_of_a_forgotten_stream_still_ends(alice: Caller) -> None:
    job = alice.chat("one two", max_tokens=2).json()["id"]
    follower = Follower(alice, job, last="9-9999")
    follower.follow()
    assert result(follower.end) == "one two "


def test_a_senseless_id_is_refused(alice: Caller) -> None:
    job = alice.chat("x", max_tokens=1).json()["id"]
    answer = alice.get(f"jobs/{job}/events", headers={"Last-Event-ID": "yesterday"})
    assert error_of(answer, 422, "invalid_value")["param"] == "Last-Event-ID"


def test_a_replay_is_a_new_job_with_the_same_request(newcomer: NewCaller) -> None:
    dora = newcomer()
    first = dora.job(dora.chat("one two", max_tokens=2).json()["id"])
    answer = dora.post(f"jobs/{first['id']}/replay")
    assert answer.status_code == 202
    again = dora.ended(answer.json()["id"])
    assert again["id"] != first["id"]
    assert (again["request"], result(again)) == (first["request"], result(first))
    assert dora.available() == 0.998


def test_a_deleted_job_keeps_only_its_price(newcomer: NewCaller) -> None:
    dora = newcomer()
    answer = dora.post("generate/audio", {"model": "piper-joe", "text": "Hello."})
    job = answer.json()["id"]
    link = dora.job(job)["outputs"][0]["url"]
    assert requests.get(link, timeout=TIMEOUT_S).status_code == 200
    assert dora.send("DELETE", f"jobs/{job}").status_code == 204
    left = dora.job(job)
    assert (left["outputs"], left["request"], left["result"]) == ([], {}, None)
    assert left["cost"] == 0.001
    error_of(requests.get(link, timeout=TIMEOUT_S), 404, "output_not_found")
    error_of(dora.post(f"jobs/{job}/replay"), 409, "job_deleted")


def test_a_running_job_is_not_deleted(alice: Caller) -> None:
    job = later(alice, "a", model="echo-slow", max_tokens=20)
    error_of(alice.send("DELETE", f"jobs/{job}"), 409, "job_not_finished")
    alice.post(f"jobs/{job}/cancel")


def test_jobs_are_listed_by_state_kind_and_model(newcomer: NewCaller) -> None:
    dora = newcomer()
    chat = dora.job(dora.chat("x", max_tokens=1).json()["id"])["id"]
    speech = dora.post("generate/audio", {"model": "piper-joe", "text": "Hi."}).json()["id"]
    voice = dora.job(speech)["id"]

    def listed(**chosen: str) -> list[str]:
        return [job["id"] for job in dora.get("jobs", params=chosen).json()["data"]]

    assert listed() == [voice, chat]
    assert listed(kind="text") == [chat]
    assert listed(model="piper-joe") == [voice]
    assert listed(state="succeeded", kind="audio") == [voice]
    assert listed(state="failed") == []
    assert error_of(dora.get("jobs", params={"state": "done"}), 422, "invalid_value")
