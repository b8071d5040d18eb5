"""POST /audio/transcriptions, mostly by OpenAI's own client."""

import io
import re
from typing import Any

import openai
import pytest
from openai.types.audio import TranscriptionVerbose

from inference.sound import audio
from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.inference.hearing import word_error_rate

MODEL = "pocketsphinx"
PRICE = 0.001
SAID = "The weather is very nice today and the children are playing in the garden."
# As in tests/api/test_audio.py: Piper draws its intonation at random.
WORST = 0.35
# Nor does it speak at the same pace each time.
USAGES = [{"type": "duration", "seconds": seconds} for seconds in (4, 5, 6)]


@pytest.fixture(scope="module")
def speech(alice: Caller) -> bytes:
    """The sentence as an mp3, spoken by the product itself."""
    with alice.openai() as client:
        said = client.audio.speech.create(model="piper-joe", voice="alloy", input=SAID)
    return said.content


def silence(seconds: float, form: str = "wav") -> bytes:
    return audio.encode(bytes(2 * int(16_000 * seconds)), 16_000, form)


def upload(
    caller: Caller, content: bytes, headers: dict[str, str] | None = None, **fields: Any
) -> Any:
    """The answer to a plain form."""
    return caller.send(
        "POST",
        "audio/transcriptions",
        data={"model": MODEL, **fields},
        files={"file": ("speech.bin", content)},
        headers=headers or {},
    )


def understood(text: str) -> bool:
    return word_error_rate(SAID, text.split()) <= WORST


def test_all_formats_say_what_a_voice_said(alice: Caller, speech: bytes) -> None:
    with alice.openai("/v1") as client:
        create = client.audio.transcriptions.create
        brief = create(model=MODEL, file=("a.mp3", speech))
        text = create(model=MODEL, file=("a.mp3", speech), response_format="text")
        srt = create(model=MODEL, file=("a.mp3", speech), response_format="srt")
        vtt = create(model=MODEL, file=("a.mp3", speech), response_format="vtt")
        verbose = create(
            model=MODEL,
            file=("a.mp3", speech),
            language="en",
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    assert understood(brief.text)
    assert brief.to_dict()["usage"] in USAGES
    words = brief.text.split()
    assert text == f"{brief.text}\n"
    # Each as its readers have it: numbers and times, then the text.
    time = r"00:00:\d\d{mark}\d{{3}} --> 00:00:\d\d{mark}\d{{3}}\n(.+)\n\n"
    pieces = re.findall(r"\d+\n" + time.format(mark=","), srt)
    assert " ".join(pieces).split() == words
    assert srt.startswith("1\n00:00:0")
    assert vtt.startswith("WEBVTT\n\n00:00:0")
    assert " ".join(re.findall(time.format(mark=r"\."), vtt)).split() == words
    assert isinstance(verbose, TranscriptionVerbose)
    assert (verbose.text, verbose.language) == (brief.text, "english")
    assert 3 < verbose.duration < 8
    assert verbose.segments
    assert "".join(segment.text for segment in verbose.segments) == verbose.text
    assert 0 <= verbose.segments[0].start < verbose.segments[-1].end <= verbose.duration
    assert verbose.words
    assert [word.word for word in verbose.words] == words
    assert all(word.start < word.end for word in verbose.words)


def test_only_the_times_that_were_asked_for_come(alice: Caller) -> None:
    for asked, there in (
        ({}, ["segments"]),
        ({"timestamp_granularities[]": "word"}, ["words"]),
        ({"timestamp_granularities[]": ["word", "segment"]}, ["segments", "words"]),
    ):
        answer = upload(alice, silence(1), response_format="verbose_json", **asked).json()
        assert sorted(answer.keys() & {"words", "segments"}) == there


def test_it_comes_as_it_is_understood(alice: Caller, speech: bytes) -> None:
    with alice.openai() as client:
        stream = client.audio.transcriptions.create(
            model=MODEL, file=("a.mp3", speech), stream=True
        )
        *deltas, done = list(stream)
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == done.text  # type: ignore[union-attr]
    assert understood(done.text)
    assert done.to_dict()["usage"] in USAGES


def test_it_is_a_job_that_is_paid(newcomer: NewCaller, charlie: Caller, speech: bytes) -> None:
    dora = newcomer()
    accepted = upload(dora, speech, headers={"Prefer": "respond-async"})
    assert accepted.status_code == 202
    job = dora.ended(accepted.json()["id"])
    assert (job["kind"], job["state"], job["cost"]) == ("transcription", "succeeded", PRICE)
    assert dora.available() == pytest.approx(1 - PRICE)
    assert re.fullmatch(r"\(\d+ characters of base64\)", job["request"]["audio"])
    assert understood(job["result"]["text"])
    events = dora.get(f"jobs/{job['id']}/events").text
    assert "event: delta" in events
    assert events.count("event: end") == 1
    assert dora.get("jobs", params={"kind": "transcription"}).json()["data"] == [job]
    (used,) = dora.get("usage", params={"group_by": "model"}).json()["data"]
    assert (used["model"], used["cost"], used["tokens_in"]) == (MODEL, PRICE, 0)
    assert used["seconds"] > 0
    error_of(charlie.get(f"jobs/{job['id']}"), 404, "job_not_found")


def test_what_was_uploaded_can_be_used_again_until_it_is_deleted(newcomer: NewCaller) -> None:
    dora = newcomer()
    response = upload(dora, silence(1))
    extra = response.json()["x_modelpilot"]
    assert (extra["cost"], response.headers["x-modelpilot-cost"]) == (PRICE, str(PRICE))
    path = f"jobs/{extra['job_id']}"
    again = dora.ended(dora.post(f"{path}/replay").json()["id"])
    assert (again["state"], again["result"]["text"]) == ("succeeded", "")
    assert dora.send("DELETE", path).status_code == 204
    assert (dora.job(extra["job_id"])["request"], dora.job(extra["job_id"])["result"]) == ({}, None)
    error_of(dora.post(f"{path}/replay"), 409, "job_deleted")


def test_a_repeated_form_is_answered_from_its_job(newcomer: NewCaller) -> None:
    dora = newcomer()
    first, second = (
        upload(dora, silence(1), headers={"Idempotency-Key": "once"}) for _ in range(2)
    )
    assert first.json() == second.json()
    assert first.json()["text"] == ""
    assert second.headers["Idempotent-Replayed"] == "true"
    assert dora.available() == pytest.approx(1 - PRICE)


@pytest.mark.parametrize(
    "content",
    [b"", b"This is a letter.", silence(2)[:40], silence(2, "flac")[:30]],
    ids=["empty", "letter", "head", "flac"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_recording_is_free(newcomer: NewCaller, content: bytes, stream: bool) -> None:
    dora = newcomer()
    refused = upload(dora, content, stream=str(stream).lower())
    assert error_of(refused, 400, "invalid_value")["param"] == "file"
    assert dora.available() == 1


def test_what_is_too_long_is_free(newcomer: NewCaller) -> None:
    dora = newcomer()
    refused = upload(dora, silence(601, "flac"))
    error = error_of(refused, 400, "invalid_value")
    assert (error["param"], "600 seconds" in error["message"]) == ("file", True)
    assert dora.available() == 1


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"language": "de"}, 400, "invalid_value", "language"),
        ({"language": "English!"}, 422, "invalid_value", "language"),
        ({"prompt": "A letter."}, 400, "invalid_value", "prompt"),
        ({"temperature": "0.4"}, 400, "invalid_value", "temperature"),
        ({"temperature": "2"}, 422, "invalid_value", "temperature"),
        ({"response_format": "pdf"}, 422, "invalid_value", "response_format"),
        ({"timestamp_granularities[]": "word"}, 422, "invalid_value", None),
        (
            {"timestamp_granularities[]": "page", "response_format": "verbose_json"},
            422,
            "invalid_value",
            "timestamp_granularities.0",
        ),
        ({"stream": "true", "response_format": "srt"}, 422, "invalid_value", None),
        ({"include[]": "logprobs"}, 400, "unsupported_parameter", "include"),
    ],
)
def test_bad_input_is_refused(
    alice: Caller, fields: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    assert error_of(upload(alice, silence(1), **fields), status, code)["param"] == param


def test_a_file_is_needed(alice: Caller) -> None:
    response = alice.post("audio/transcriptions", {"model": MODEL})
    assert error_of(response, 422, "missing_required_parameter")["param"] == "file"
    response = alice.post("audio/transcriptions", {"model": MODEL, "file": "no base64"})
    assert error_of(response, 422, "invalid_value")["param"] == "file"


def test_a_voice_hears_nothing(alice: Caller) -> None:
    response = upload(alice, silence(1), model="piper-joe")
    message = error_of(response, 400, "invalid_model_type")["message"]
    assert message == (
        "Model 'piper-joe' is not a transcription model and cannot be used with transcriptions"
    )
    with alice.openai() as client, pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model="whisper-1", file=io.BytesIO(silence(1)))
