"""Files that jobs made, behind links that are signed for fifteen minutes."""

import time
from typing import Any

import pytest

from tests.api.caller import Caller, error_of


@pytest.fixture(scope="module")
def speech(alice: Caller) -> dict[str, Any]:
    """Alice's finished speech, as its job."""
    answer = alice.post("generate/audio", {"model": "piper-joe", "text": "My secret."}).json()
    return alice.job(answer["id"])


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
