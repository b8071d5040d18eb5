"""Speech over both routes, with both voices, in its formats."""

import base64
import io
import re
import time
import wave
from typing import Any

import pytest

from tests.api.caller import Caller, error_of
from tests.inference.hearing import heard, word_error_rate

SENTENCE = "The weather is very nice today and the children are playing in the garden."
RATES = {"kokoro": 24000, "piper-joe": 22050}
# Where Kokoro's English voices can't be had, a Japanese one speaks (0.07). Piper draws its
# intonation at random: mostly 0.00, at worst 0.21 (three of fourteen words) in some dozens.
WORST = {"kokoro": 0.25, "piper-joe": 0.3}


@pytest.mark.parametrize("model", ["kokoro", "piper-joe"])
def test_it_speaks_and_is_understood(
    alice: Caller, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = alice.post("generate/audio", {"model": model, "text": SENTENCE}).json()
    assert answer.keys() >= {
        "id",
        "model",
        "audio",
        "format",
        "sample_rate",
        "cost",
        "execution_time_ms",
    }
    assert answer["id"].startswith("gen_")
    assert (answer["model"], answer["format"]) == (model, "wav")
    assert answer["sample_rate"] == RATES[model]
    assert answer["cost"] == {"kokoro": 0.002, "piper-joe": 0.001}[model]
    sound = base64.b64decode(answer["audio"], validate=True)
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (
            RATES[model],
            1,
            2,
        )
        assert 2 < file.getnframes() / file.getframerate() < 10
    rate = word_error_rate(SENTENCE, heard(sound))
    with capsys.disabled():
        print(f"\n{model}: word error rate {rate:.2f}")
    assert rate <= WORST[model]


def test_openais_client_gets_mp3_and_wav(alice: Caller) -> None:
    with alice.openai("/v1") as client:
        mp3 = client.audio.speech.create(model="piper-joe", voice="alloy", input="Hello there.")
        assert re.match(rb"ID3|\xff[\xe2-\xff]", mp3.content)
        assert mp3.response.headers["Content-Type"] == "audio/mpeg"
        assert mp3.response.headers["x-modelpilot-cost"] == "0.001"
        wav = client.audio.speech.create(
            model="piper-joe", voice="alloy", input="Hello there.", response_format="wav"
        )
    assert wav.response.headers["Content-Type"] in ("audio/wav", "audio/x-wav")
    with wave.open(io.BytesIO(wav.content)) as file:
        assert file.getnframes() > 10000


def test_speed_makes_it_shorter(alice: Caller) -> None:
    lengths = []
    for speed in (0.5, 1.0, 2.0):
        body = {"model": "piper-joe", "text": SENTENCE, "speed": speed}
        lengths.append(len(alice.post("generate/audio", body).json()["audio"]))
    assert lengths[0] > 1.5 * lengths[1] > 2 * lengths[2]


def test_a_voice_is_chosen(alice: Caller) -> None:
    body = {"model": "kokoro", "text": "Good morning.", "voice": "am_michael"}
    answer = alice.post("generate/audio", body).json()
    job = alice.job(answer["id"])
    assert job["request"]["voice"] == "am_michael"
    assert job["state"] == "succeeded"


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async"])
def test_who_does_not_wait_gets_a_poll_url(alice: Caller, prefer: str) -> None:
    body = {"model": "kokoro", "text": SENTENCE}
    response = alice.post("generate/audio", body, headers={"Prefer": prefer})
    assert response.status_code == 202
    accepted = response.json()
    assert accepted["id"] == accepted["job_id"]
    assert accepted["id"].startswith("sync-")
    assert accepted["model"] == "kokoro"
    assert accepted["status"] == "processing"
    assert accepted["endpoint_id"].startswith("dep")
    assert accepted["poll_url"] == (
        f"/api/v1/generate/audio/status/{accepted['id']}"
        f"?endpoint_id={accepted['endpoint_id']}&model=kokoro"
    )
    assert "Poll the status URL every 10 seconds." in accepted["message"]
    assert accepted["estimated_time_ms"] > 0
    assert response.headers["Location"] == accepted["poll_url"].partition("?")[0]
    assert int(response.headers["Retry-After"]) > 0
    pending, done = polled(alice, accepted["poll_url"])
    assert pending
    for poll in pending:
        assert poll["status"] == "processing"
        assert poll["phase"] in ("starting", "downloading", "loading", "queued", "running")
        assert 0 <= poll["progress"] <= 1
        assert poll["estimated_time_ms"] >= 0
    assert done["status"] == "completed"
    again = alice.get(f"generate/audio/status/{accepted['id'].removeprefix('sync-')}").json()
    assert again == done
    assert (done["format"], done["sample_rate"], done["cost"]) == ("wav", 24000, 0.002)
    assert base64.b64decode(done["audio"]).startswith(b"RIFF")


def polled(caller: Caller, url: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What polling says while it is pending, and in the end."""
    pending = []
    deadline = time.monotonic() + 60
    while (response := caller.get(url)).status_code == 202:
        assert time.monotonic() < deadline
        assert int(response.headers["Retry-After"]) > 0
        pending.append(response.json())
        time.sleep(0.1)
    assert response.status_code == 200, response.text
    return pending, response.json()


def test_a_cancelled_poll_says_so(alice: Caller) -> None:
    text = " ".join([SENTENCE] * 10)
    headers = {"Prefer": "wait=0"}
    job = alice.post("generate/audio", {"model": "kokoro", "text": text}, headers=headers).json()
    alice.post(f"jobs/{job['id']}/cancel")
    alice.ended(job["id"])
    done = alice.get(job["poll_url"])
    assert done.status_code == 200
    body = done.json()
    assert (body["status"], body["state"]) == ("cancelled", "cancelled")
    assert body["error"]["code"] == "cancelled"


def test_a_chat_is_no_speech(alice: Caller) -> None:
    job = alice.chat("hello", max_tokens=1).json()["id"]
    error_of(alice.get(f"generate/audio/status/{job}"), 404, "job_not_found")
