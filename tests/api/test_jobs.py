"""Jobs: one resource behind every route."""

import time
import uuid

import pytest

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller

LATER = {"Prefer": "respond-async"}
FIELDS = {
    "id",
    "object",
    "kind",
    "model",
    "state",
    "phase",
    "queue_position",
    "progress",
    "attempt",
    "created_at",
    "started_at",
    "finished_at",
    "cost",
    "outputs",
    "error",
    "request",
}


def test_a_job_has_many_names(alice: Caller) -> None:
    answer = alice.chat("hello", max_tokens=1).json()
    bare = uuid.UUID(answer["id"].removeprefix("chatcmpl-"))
    assert answer["x_modelpilot"]["job_id"] == str(bare)
    for prefix in ("", "gen_", "sync-", "vid_", "run-", "chatcmpl-"):
        for text in (str(bare), bare.hex):
            assert alice.job(prefix + text)["id"] == str(bare)


def test_a_job_tells_all_about_itself(alice: Caller) -> None:
    job = alice.job(alice.chat("one two", max_tokens=2).json()["id"])
    assert job.keys() >= FIELDS
    assert (job["object"], job["kind"], job["model"]) == ("job", "text", "echo")
    assert (job["state"], job["progress"], job["attempt"]) == ("succeeded", 1, 1)
    assert (job["cost"], job["outputs"], job["error"]) == (0.001, [], None)
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert job["result"]["choices"][0]["text"] == "one two "


def test_jobs_are_listed_newest_first_by_the_page(newcomer: NewCaller) -> None:
    dora = newcomer()
    made = [dora.chat(f"{n}", headers=LATER).json()["id"] for n in range(5)]
    pages = []
    after: dict[str, str] = {}
    while True:
        page = dora.get("jobs", params={"limit": 2, **after}).json()
        pages.append([job["id"] for job in page["data"]])
        if not page["has_more"]:
            break
        after = {"after": pages[-1][-1]}
    assert pages == [made[4:2:-1], made[2:0:-1], made[:1]]


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}])
def test_a_senseless_page_is_422(alice: Caller, query: dict[str, str]) -> None:
    assert error_of(alice.get("jobs", params=query), 422, "invalid_value")["param"] == "limit"


def test_a_queued_job_is_cancelled_for_nothing(newcomer: NewCaller) -> None:
    dora = newcomer()
    first = dora.chat("a b", "echo-one", max_tokens=200, headers=LATER).json()["id"]
    dora.running(first)
    second = dora.chat("a b", "echo-one", max_tokens=200, headers=LATER).json()
    assert (second["state"], second["queue_position"]) == ("queued", 1)
    third = dora.chat("a b", "echo-one", max_tokens=200, headers=LATER).json()
    assert third["queue_position"] == 2
    cancelled = dora.post(f"jobs/{second['id']}/cancel").json()
    assert (cancelled["state"], cancelled["cost"], cancelled["attempt"]) == ("cancelled", 0, 0)
    assert dora.job(third["id"])["queue_position"] == 1
    for job in (first, third["id"]):
        dora.post(f"jobs/{job}/cancel")
        dora.ended(job)
    assert dora.held() == 0


def test_a_running_job_stops_and_costs_what_was_delivered(newcomer: NewCaller) -> None:
    dora = newcomer()
    job = dora.chat("a b", "echo-slow", max_tokens=400, headers=LATER).json()["id"]
    dora.running(job)
    time.sleep(0.5)  # some words have been said
    started = time.monotonic()
    dora.post(f"jobs/chatcmpl-{job}/cancel")
    ended = dora.ended(job)
    assert time.monotonic() - started < 1.5
    assert (ended["state"], ended["cost"]) == ("cancelled", 0.001)
    assert 2 < len(ended["result"]["choices"][0]["text"].split()) < 60
    assert ended["error"]["code"] == "cancelled"
    assert dora.available() == 1 - 0.001


def test_cancelling_what_has_ended_changes_nothing(alice: Caller) -> None:
    job = alice.chat("hello").json()["id"]
    before = alice.job(job)
    assert alice.post(f"jobs/{job}/cancel").json() == before


def test_a_stream_hears_of_its_cancel(alice: Caller) -> None:
    with alice.stream("a b", "echo-slow", max_tokens=400) as lines:
        data = lines.data()
        next(data)
        alice.post(f"jobs/{alice.newest_job()['id']}/cancel")
        *_, last = data
    assert '"code":"cancelled"' in last


@pytest.mark.parametrize("job", ["nothing", "chatcmpl-", str(uuid.uuid4()), "x" * 300])
def test_an_unknown_job_is_404(alice: Caller, job: str) -> None:
    error_of(alice.get(f"jobs/{job}"), 404, "job_not_found")
    error_of(alice.post(f"jobs/{job}/cancel"), 404, "job_not_found")
