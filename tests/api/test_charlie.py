"""What is alice's, charlie must not even know of."""

import time
from typing import Any

import pytest

from tests.api.caller import Caller, error_of

LATER = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def speech(alice: Caller) -> dict[str, Any]:
    """Alice's finished speech, as its job."""
    answer = alice.post("generate/audio", {"model": "piper-joe", "text": "My secret."}).json()
    return alice.job(answer["id"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "jobs/{id}"),
        ("GET", "jobs/gen_{id}"),
        ("POST", "jobs/{id}/cancel"),
        ("GET", "generate/audio/status/{id}"),
        ("GET", "generate/audio/status/sync-{id}?endpoint_id=dep1&model=piper-joe"),
    ],
)
def test_anothers_job_is_404(
    charlie: Caller, speech: dict[str, Any], method: str, path: str
) -> None:
    theirs = charlie.send(method, path.format(id=speech["id"]))
    error_of(theirs, 404, "job_not_found")
    unknown = charlie.send(method, path.format(id="01a20000-0000-7000-8000-000000000000"))
    assert unknown.json() == theirs.json()


def test_anothers_job_is_not_listed(charlie: Caller, speech: dict[str, Any]) -> None:
    listed = charlie.get("jobs", params={"limit": 100}).json()["data"]
    assert speech["id"] not in {job["id"] for job in listed}


def test_anothers_job_is_not_cancelled(alice: Caller, charlie: Caller) -> None:
    job = alice.chat("a b", "echo-slow", max_tokens=30, headers=LATER).json()["id"]
    error_of(charlie.post(f"jobs/{job}/cancel"), 404, "job_not_found")
    assert alice.ended(job)["state"] == "succeeded"


def test_a_page_does_not_begin_at_anothers_job(
    alice: Caller, charlie: Caller, speech: dict[str, Any]
) -> None:
    page = charlie.get("jobs", params={"after": speech["id"], "limit": 100}).json()
    mine = {job["id"] for job in charlie.get("jobs", params={"limit": 100}).json()["data"]}
    assert {job["id"] for job in page["data"]} <= mine


def test_an_output_needs_its_signature(
    alice: Caller, charlie: Caller, speech: dict[str, Any]
) -> None:
    url: str = speech["outputs"][0]["url"]
    path = url.removeprefix(alice.base_url)
    nobody = Caller(alice.base_url, "")
    signed = nobody.get(path)
    assert signed.status_code == 200
    assert signed.content.startswith(b"RIFF")
    assert len(signed.content) == speech["outputs"][0]["bytes"]
    assert signed.headers["Content-Type"] == speech["outputs"][0]["media_type"]
    assert signed.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in signed.headers["Content-Security-Policy"]
    bare, _, query = path.partition("?")
    expires, signature = (part.partition("=")[2] for part in query.split("&"))
    assert time.time() < int(expires) <= time.time() + 900
    flipped = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    for wrong in (
        "",
        f"expires={expires}",
        f"expires={expires}&signature={flipped}",
        f"expires={expires}&signature=é",
        f"expires={int(expires) + 1}&signature={signature}",
        f"expires={int(time.time()) - 1}&signature={signature}",
        f"expires=x&signature={signature}",
    ):
        for caller in (nobody, charlie):
            error_of(caller.get(f"{bare}?{wrong}"), 404, "output_not_found")
