"""/audio/speech comes as it is spoken, in every format, and is what is stored."""

import io
import threading
import time
import wave
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import psutil
import pytest
import requests

from inference.sound import audio
from tests.api.caller import TIMEOUT_S, Caller, error_of
from tests.api.conftest import NewCaller
from tests.inference.hearing import heard, word_error_rate
from tests.system import System

FOUR = (
    "The weather is very nice today. The children are playing in the garden. "
    "We will go to the river in the evening. Everybody is happy about that."
)
TWO = "The sun is up. We go home."
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}


@dataclass
class Speech:
    """What came, and when: seconds to the first byte and to the last."""

    response: requests.Response
    content: bytes
    first_s: float
    whole_s: float
    job: dict[str, Any]


def begin(caller: Caller, text: str, **fields: Any) -> requests.Response:
    body = {"model": "kokoro", "voice": "jf_gongitsune", "input": text, **fields}
    response = caller.post("audio/speech", body, stream=True)
    assert response.status_code == 200, response.text
    return response


def listen(caller: Caller, text: str, **fields: Any) -> Speech:
    started = time.monotonic()
    with begin(caller, text, **fields) as response:
        pieces = response.iter_content(None)
        first = next(pieces)
        first_s = time.monotonic() - started
        # While the rest of it is spoken.
        job = caller.job(response.headers["x-modelpilot-job-id"])
        content = first + b"".join(pieces)
    return Speech(response, content, first_s, time.monotonic() - started, job)


def stored(caller: Caller, speech: Speech) -> bytes:
    job = caller.ended(speech.response.headers["x-modelpilot-job-id"])
    return requests.get(job["outputs"][0]["url"], timeout=TIMEOUT_S).content


def samples(content: bytes) -> tuple[np.ndarray[Any, Any], int]:
    """Mono 16-bit samples of an audio file, and their rate."""
    with av.open(io.BytesIO(content), "r") as file:
        rate = file.streams.audio[0].rate
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        frames = [piece for frame in file.decode(audio=0) for piece in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), rate


def as_wav(sound: np.ndarray[Any, Any], rate: int) -> bytes:
    return audio.encode(sound.astype("<i2").tobytes(), rate, "wav")


@pytest.fixture(scope="module")
def warm(alice: Caller) -> None:
    """Both models have loaded."""
    for model in ("kokoro", "piper-joe"):
        alice.post("generate/audio", {"model": model, "text": "Hello."})


@pytest.mark.usefixtures("warm")
def test_the_first_sentence_comes_before_the_last_is_spoken(
    alice: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = listen(alice, FOUR)
    with capsys.disabled():
        print(
            f"\nkokoro, four sentences: first byte after {speech.first_s:.2f} s, "
            f"last after {speech.whole_s:.2f} s"
        )
    assert speech.job["state"] == "running"
    assert speech.first_s < 0.6 * speech.whole_s
    assert speech.response.headers["Content-Type"] == "audio/mpeg"
    assert speech.response.headers["x-modelpilot-sample-rate"] == "24000"
    assert speech.response.headers["x-modelpilot-cost"] == "0.002"
    assert speech.content == stored(alice, speech)
    rate = word_error_rate(FOUR, heard(as_wav(*samples(speech.content))))
    with capsys.disabled():
        print(f"word error rate of the streamed mp3: {rate:.2f}")
    assert rate <= 0.3


@pytest.fixture(scope="module")
def spoken(alice: Caller, warm: None) -> dict[str, Speech]:
    """The same words in each format; Kokoro always says them alike."""
    return {form: listen(alice, TWO, response_format=form) for form in MEDIA_TYPES}


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_every_format_is_whole(alice: Caller, spoken: dict[str, Speech], form: str) -> None:
    speech = spoken[form]
    assert speech.response.headers["Content-Type"] == MEDIA_TYPES[form]
    rate = int(speech.response.headers["x-modelpilot-sample-rate"])
    assert rate == (48_000 if form == "opus" else 24_000)
    with wave.open(io.BytesIO(stored(alice, spoken["wav"]))) as file:
        right = file.getnframes() / file.getframerate()
    if form == "pcm":
        assert speech.content == stored(alice, spoken["wav"])[44:]
        return
    sound, played_at = samples(speech.content)
    assert played_at == rate
    assert len(sound) / rate == pytest.approx(right, abs=0.15)


def test_a_streamed_wav_says_that_its_end_is_open(alice: Caller, spoken: dict[str, Speech]) -> None:
    streamed, kept = spoken["wav"].content, stored(alice, spoken["wav"])
    assert streamed[4:8] == streamed[40:44] == b"\xff" * 4
    assert int.from_bytes(kept[4:8], "little") == len(kept) - 8
    assert int.from_bytes(kept[40:44], "little") == len(kept) - 44
    assert streamed[44:] == kept[44:]


@pytest.mark.parametrize("form", ["mp3", "opus", "flac", "aac"])
def test_what_is_stored_is_what_was_sent(
    alice: Caller, spoken: dict[str, Speech], form: str
) -> None:
    assert spoken[form].content == stored(alice, spoken[form])


@pytest.mark.usefixtures("warm")
def test_raw_samples_are_at_openais_rate(alice: Caller) -> None:
    speech = listen(alice, TWO, model="piper-joe", voice="alloy", response_format="pcm")
    assert speech.response.headers["x-modelpilot-sample-rate"] == "24000"
    sound = np.frombuffer(speech.content, "<i2")
    assert word_error_rate(TWO, heard(as_wav(sound, 24_000))) <= 0.5


@pytest.mark.usefixtures("warm")
def test_a_stand_in_is_told_in_a_header(alice: Caller) -> None:
    speech = listen(alice, "Hello.", voice="alloy")
    assert speech.response.headers["x-modelpilot-warnings"] == (
        "The voice af_alloy is not on this machine; jf_gongitsune speaks instead."
    )
    assert "x-modelpilot-warnings" not in listen(alice, "Hello.").response.headers


def test_it_is_answered_again_whole(alice: Caller) -> None:
    body = {"model": "kokoro", "voice": "alloy", "input": "Hello there."}
    headers = {"Idempotency-Key": "speech-again"}
    first = alice.post("audio/speech", body, headers=headers)
    again = alice.post("audio/speech", body, headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
    for name in ("Content-Type", "x-modelpilot-warnings", "x-modelpilot-cost"):
        assert again.headers[name] == first.headers[name]


@pytest.mark.parametrize("field", ["speed", "voice", "response_format"])
def test_bounds_are_told_before_anything_is_paid(newcomer: NewCaller, field: str) -> None:
    dora = newcomer()
    value = {"speed": 4.0, "voice": "jf_alpha+nobody", "response_format": "midi"}[field]
    body = {"model": "kokoro", "input": "Hello.", field: value}
    error = error_of(dora.post("audio/speech", body), 422, "invalid_value")
    assert error["param"] == field
    assert field != "voice" or "'nobody'" in error["message"]
    assert dora.available() == 1


def test_what_fails_before_the_first_byte_has_its_own_status(newcomer: NewCaller) -> None:
    dora = newcomer()
    body = {"model": "piper-joe", "voice": "joe", "input": "?!"}
    error_of(dora.post("audio/speech", body), 400, "invalid_value")
    assert dora.available() == 1


@pytest.mark.usefixtures("warm")
def test_who_leaves_after_a_sentence_pays_and_stops_it(newcomer: NewCaller) -> None:
    dora = newcomer()
    with begin(dora, " ".join([FOUR] * 20)) as response:
        next(response.iter_content(None))
        job = response.headers["x-modelpilot-job-id"]
    left = time.monotonic()
    ended = dora.ended(job)
    # Between two sentences: the one that is being spoken is spoken to its end.
    assert time.monotonic() - left < 10
    assert (ended["state"], ended["cost"]) == ("cancelled", 0.002)


@pytest.mark.usefixtures("warm")
def test_who_leaves_before_a_sentence_pays_nothing(newcomer: NewCaller) -> None:
    dora = newcomer()
    body = {"model": "kokoro", "voice": "jf_alpha", "input": FOUR.replace(".", ",")}
    url, headers = f"{dora.base_url}/v1/audio/speech", {"Authorization": f"Bearer {dora.key}"}
    with pytest.raises(requests.ReadTimeout):
        requests.post(url, json=body, headers=headers, timeout=0.5)
    ended = dora.ended(dora.newest_job()["id"])
    assert (ended["state"], ended["cost"]) == ("cancelled", 0)


def kill_voices(system: System) -> None:
    """Kill every pod that has a voice loaded; a pod does not say which."""
    voices = [
        process
        for process in psutil.Process(system.pid).children(recursive=True)
        if "pod" in process.cmdline() and "onnxruntime" in maps(process)
    ]
    assert voices
    for process in voices:
        process.kill()


def maps(process: psutil.Process) -> str:
    return " ".join(region.path for region in process.memory_maps())


@pytest.mark.usefixtures("warm")
def test_a_voice_that_dies_in_mid_speech_is_not_taken_for_the_whole(
    newcomer: NewCaller, system: System
) -> None:
    dora = newcomer()
    with begin(dora, " ".join([FOUR] * 5)) as response:
        pieces = response.iter_content(None)
        next(pieces)
        kill_voices(system)
        with pytest.raises(requests.RequestException):
            list(pieces)
    ended = dora.ended(response.headers["x-modelpilot-job-id"])
    assert (ended["state"], ended["cost"], ended["attempt"]) == ("failed", 0, 1)
    assert ended["error"]["code"] == "pod_died"


def kill_once_running(system: System, caller: Caller) -> None:
    while not (jobs := caller.get("jobs").json()["data"]):
        time.sleep(0.02)
    caller.running(jobs[0]["id"])
    kill_voices(system)


def test_a_voice_that_dies_before_the_first_word_speaks_again(
    newcomer: NewCaller, system: System, alice: Caller
) -> None:
    alice.post("generate/audio", {"model": "kokoro", "text": "Hello."})
    dora = newcomer()
    # One long sentence, so that the pod can be killed before it is spoken.
    text = "a long way, " * 20
    body = {"model": "kokoro", "voice": "jf_alpha", "input": text}
    killed = threading.Thread(target=kill_once_running, args=(system, dora))
    killed.start()
    answer = dora.post("audio/speech", body)
    killed.join()
    assert answer.status_code == 200
    job = dora.newest_job()
    assert (job["state"], job["attempt"], job["cost"]) == ("succeeded", 2, 0.002)
