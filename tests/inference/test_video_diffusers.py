"""Films: the cards of the catalog on pipelines of their kind, and files that play."""

import io
import struct
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from inference.drawing import films, previews
from inference.errors import Cancelled, InferenceError, InvalidRequest
from inference.types import Engine, Result, VideoRequest
from tests.inference.drawing import Heard, Steps, ignore, plain

Start = Callable[..., Engine]


@pytest.fixture(scope="module")
def wan(start_tiny: Start) -> Engine:
    return start_tiny("wan-t2v")


@pytest.fixture(scope="module")
def wan_from_image(start_tiny: Start) -> Engine:
    return start_tiny("wan-t2v", pipeline="wan-i2v")


def asking(**changes: Any) -> VideoRequest:
    usual = {"prompt": "waves", "width": 64, "height": 48, "num_frames": 9, "fps": 8,
             "steps": 3, "seed": 7}  # fmt: skip
    return VideoRequest(**{**usual, **changes})


def film(engine: Engine, **changes: Any) -> Result:
    return engine.generate(asking(**changes), ignore)


def frames_of(content: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(content), "r") as file:
        pictures = (frame.to_ndarray(format="rgb24") for frame in file.decode(video=0))
        return [Image.fromarray(picture) for picture in pictures]


def boxes(content: bytes) -> list[str]:
    """The names of an MP4's outermost boxes, in order."""
    names, position = [], 0
    while position < len(content):
        size, name = struct.unpack_from(">I4s", content, position)
        names.append(name.decode())
        position += size
    return names


def test_a_film_that_plays(wan: Engine) -> None:
    result = film(wan)
    assert result.data == {
        "seed": 7, "width": 64, "height": 48, "num_frames": 9, "fps": 8, "duration_s": 1.125,
    }  # fmt: skip
    assert result.warnings == []
    movie, poster = result.files
    assert (movie.name, movie.media_type) == ("output_00001_.mp4", "video/mp4")
    assert (poster.name, poster.media_type) == ("output_00001_.jpg", "image/jpeg")
    with av.open(io.BytesIO(movie.content)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (64, 48)
        assert stream.average_rate == 8
        assert stream.frames == 9
    frames = frames_of(movie.content)
    assert len(frames) == 9
    first = np.asarray(Image.open(io.BytesIO(poster.content)), np.int16)
    assert np.abs(first - np.asarray(frames[0], np.int16)).mean() < 20
    # What a player must know stands before the pictures.
    assert boxes(movie.content).index("moov") < boxes(movie.content).index("mdat")


def test_a_small_model_is_enlarged(start_tiny: Start) -> None:
    result = film(start_tiny("wan-t2v", options={"native_size": 32}), width=96, height=64)
    assert (result.data["width"], result.data["height"]) == (96, 64)
    assert result.warnings == []
    assert {frame.size for frame in frames_of(result.files[0].content)} == {(96, 64)}
    assert Image.open(io.BytesIO(result.files[1].content)).size == (96, 64)


def test_the_seed_decides(wan: Engine) -> None:
    first = film(wan).files[1].content
    assert film(wan).files[1].content == first
    assert film(wan, seed=8).files[1].content != first


def test_progress_and_previews(wan: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "APART_S", 0.0)
    heard = Heard()
    wan.generate(asking(steps=10), heard)
    assert heard.fractions[0] == 0.0
    assert len(heard.fractions) == 11
    assert [preview.size for preview in heard.previews] == [(64, 48)] * 4


def test_a_cancel_stops_at_the_next_step(wan: Engine) -> None:
    steps = Steps(last=2)
    with pytest.raises(Cancelled):
        wan.generate(asking(steps=40), steps)
    assert len(steps.heard) == 2
    assert film(wan).files


def test_a_film_begins_with_a_picture(wan_from_image: Engine) -> None:
    red = film(wan_from_image, image=plain("red"))
    assert len(frames_of(red.files[0].content)) == 9
    assert red.files[1].content != film(wan_from_image, image=plain("blue")).files[1].content


def test_what_begins_with_words_takes_no_picture(wan: Engine) -> None:
    with pytest.raises(InvalidRequest, match="wan-t2v can't begin with an image") as error:
        film(wan, image=plain())
    assert error.value.param == "image"


def test_what_begins_with_a_picture_needs_one(wan_from_image: Engine) -> None:
    with pytest.raises(InvalidRequest, match="needs an image") as error:
        film(wan_from_image)
    assert error.value.param == "image"


def test_sizes_are_rounded_and_told(wan: Engine) -> None:
    result = film(wan, width=70, height=50, num_frames=11)
    assert (result.data["width"], result.data["height"]) == (64, 48)
    assert result.data["num_frames"] == len(frames_of(result.files[0].content)) == 9
    assert ["64x48" in result.warnings[0], "9 frames" in result.warnings[1]] == [True, True]


def test_a_negative_prompt_is_known(wan: Engine) -> None:
    assert film(wan, negative_prompt="rain").warnings == []
    assert "guidance above 1" in film(wan, negative_prompt="rain", guidance=1.0).warnings[0]


def test_a_broken_model_gives_no_film(start_tiny: Start) -> None:
    engine = start_tiny("wan-t2v")
    with torch.no_grad():
        pipe = engine._model.pipe  # type: ignore[attr-defined]
        pipe.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(InferenceError, match="can be seen"):
        film(engine)


def test_odd_sizes_are_made_even() -> None:
    frames = np.zeros((3, 15, 21, 3), np.uint8)
    frames[:, :, 10:] = 200
    movie = frames_of(films.write(frames, 30))
    assert len(movie) == 3
    assert movie[0].size == (22, 16)
    colour: Any = movie[2].getpixel((21, 15))
    assert min(colour) > 180
