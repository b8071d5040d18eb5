"""Every format that we offer is one that a player can play."""

import io
import wave

import av
import numpy as np
import pytest

from inference.errors import InvalidRequest
from inference.sound import audio


def tone(rate: int, seconds: float = 1.0) -> bytes:
    times = np.arange(int(rate * seconds)) / rate
    return audio.to_pcm((0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32))


@pytest.mark.parametrize("rate", [22_050, 24_000])
@pytest.mark.parametrize("form", [name for name in audio.FORMATS if name != "pcm"])
def test_the_tone_comes_back(form: str, rate: int) -> None:
    content = audio.encode(tone(rate), rate, form)
    with av.open(io.BytesIO(content), "r") as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
        heard_at = file.streams.audio[0].rate
    samples = np.concatenate([np.atleast_2d(frame)[0] for frame in frames]).astype(float)
    spectrum = np.abs(np.fft.rfft(samples))
    assert len(samples) / heard_at == pytest.approx(1.0, abs=0.11)
    assert np.argmax(spectrum) * heard_at / len(samples) == pytest.approx(440, abs=5)


def test_pcm_is_itself() -> None:
    assert audio.encode(tone(24_000), 24_000, "pcm") == tone(24_000)


def test_pcm_is_at_openais_rate() -> None:
    pcm = audio.encode(tone(22_050), 22_050, "pcm")
    assert len(pcm) / 2 / 24_000 == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize("form", audio.FORMATS)
def test_a_file_comes_in_pieces(form: str) -> None:
    encoder = audio.encoder(form, 22_050)
    pcm = tone(22_050, 3.0)
    pieces = [encoder.feed(pcm[start : start + 44_100]) for start in range(0, len(pcm), 44_100)]
    assert len(pieces) == 3
    assert all(pieces)
    streamed = b"".join(pieces) + encoder.close()
    whole = encoder.whole(streamed)
    if form == "wav":
        # Only the sizes are put right: what was sent can be gone on with.
        assert streamed[4:8] == streamed[40:44] == b"\xff" * 4
        assert (streamed[:4], streamed[8:40], streamed[44:]) == (whole[:4], whole[8:40], whole[44:])
        with wave.open(io.BytesIO(whole)) as file:
            assert file.readframes(file.getnframes()) == pcm
    else:
        assert streamed == whole
    if form != "pcm":
        for content in (streamed, whole):
            with av.open(io.BytesIO(content), "r") as sound:
                samples = sum(frame.samples for frame in sound.decode(audio=0))
            assert samples / encoder.sample_rate == pytest.approx(3.0, abs=0.11)


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.3, 2.0])
def test_the_pace_changes_and_the_pitch_does_not(speed: float) -> None:
    pcm = np.frombuffer(audio.paced(tone(24_000, 2.0), 24_000, speed), "<i2").astype(float)
    assert len(pcm) / 24_000 == pytest.approx(2.0 / speed, abs=0.05)
    assert np.argmax(np.abs(np.fft.rfft(pcm))) * 24_000 / len(pcm) == pytest.approx(440, abs=5)


def test_too_loud_is_clipped_and_does_not_wrap() -> None:
    loud = np.array([2.0, -2.0], np.float32)
    assert np.frombuffer(audio.to_pcm(loud), "<i2").tolist() == [32767, -32767]


def test_another_format_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="wav, mp3, opus, flac, aac, pcm"):
        audio.check("midi")
