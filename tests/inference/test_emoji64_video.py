"""The films that come with the program move as they are asked to."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from inference import engines, weights
from inference.catalog import Catalog
from inference.types import Device, Engine, VideoRequest

# Told by torch's arrays to numpy 2.4, on the way through diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")


@pytest.fixture(scope="module")
def engine(cards: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    nowhere = tmp_path_factory.mktemp("nowhere")
    card = cards.cards["emoji-64-video"]
    engine = engines.load(card, weights.find(card, nowhere, nowhere), Device(threads=2))
    yield engine
    engine.close()


def filmed(engine: Engine, prompt: str) -> Any:
    """Where something is, frame by frame: 8 x 128 x 128 of 0 or 1."""
    request = VideoRequest(
        prompt, width=128, height=128, num_frames=8, fps=8, steps=12, seed=1, guidance=2.0
    )
    film, poster = engine.generate(request, lambda event: None).files
    assert poster.media_type == "image/jpeg"
    with av.open(io.BytesIO(film.content), "r") as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    # On white, what is coloured is the thing.
    spread = np.stack(frames).astype(int)
    return (spread.max(axis=3) - spread.min(axis=3) > 60).astype(float)


def middle(frame: Any) -> Any:
    """Row and column of the centre of what is there."""
    return np.argwhere(frame).mean(axis=0)


@pytest.mark.parametrize(
    ("prompt", "axis", "sign"),
    [
        ("a fox drifting to the left", 1, -1),
        ("a fox drifting to the right", 1, 1),
        ("a cat moving down", 0, 1),
        ("a balloon moving up", 0, -1),
    ],
)
def test_it_goes_where_it_should(engine: Engine, prompt: str, axis: int, sign: int) -> None:
    frames = filmed(engine, prompt)
    assert sign * (middle(frames[-1]) - middle(frames[0]))[axis] > 15


def test_it_grows_and_shrinks(engine: Engine) -> None:
    growing, shrinking = filmed(engine, "a growing red heart"), filmed(engine, "a frog shrinking")
    assert growing[-1].sum() > 2 * growing[0].sum()
    assert shrinking[-1].sum() < shrinking[0].sum() / 2


def test_they_are_small() -> None:
    folder = Path(engines.__file__).with_name("emoji64_video")
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 20_000_000
