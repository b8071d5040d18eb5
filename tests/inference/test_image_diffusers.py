"""Pictures by diffusers: every card of ours, on a pipeline of its own kind with random weights."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference.types import Engine
from tests.inference.drawing import (
    Steps,
    asking,
    assert_same,
    draw,
    draw_together,
    ignore,
    opened,
    pixels,
)

CARDS = ["flux-schnell", "flux-dev", "sdxl", "zimage"]
Start = Callable[..., Engine]

# A scheduler of diffusers and NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")


@pytest.fixture(scope="module")
def engines(start_tiny: Start) -> dict[str, Engine]:
    """One engine for each card, eight pictures at once."""
    return {name: start_tiny(name, slots=8) for name in CARDS}


@pytest.fixture(params=CARDS)
def engine(request: pytest.FixtureRequest, engines: dict[str, Engine]) -> Engine:
    return engines[request.param]


def test_a_picture(engine: Engine) -> None:
    result = draw(engine, width=96, height=64)
    assert [(file.name, file.media_type) for file in result.files] == [
        ("output_00001_.png", "image/png")
    ]
    assert result.data == {"images": [{"seed": 7, "width": 96, "height": 64}]}
    assert result.warnings == []
    picture = opened(result)
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (96, 64))
    # Noise of its own, no flat colour.
    assert len(set(picture.tobytes())) > 50


def test_the_seed_decides(engine: Engine) -> None:
    first = pixels(draw(engine))
    assert pixels(draw(engine)) == first
    assert pixels(draw(engine, seed=8)) != first
    assert pixels(draw(engine, prompt="a green house")) != first


def test_alone_and_in_a_batch_it_is_the_same_picture(engine: Engine) -> None:
    requests = [asking(seed=seed, prompt=f"picture {seed}" * seed) for seed in range(1, 9)]
    alone = [opened(engine.generate(request, ignore)) for request in requests]
    assert len({picture.tobytes() for picture in alone}) == 8
    # One that keeps the engine busy until all eight wait.
    busy = Steps()
    with ThreadPoolExecutor(1) as pool:
        blocker = pool.submit(engine.generate, asking(steps=8, seed=99), busy)
        assert busy.first_step.wait(60)
        together = draw_together(engine, requests)
        blocker.result(60)
    for result, picture in zip(together, alone, strict=True):
        assert_same(opened(result), picture)


def test_n_pictures_are_those_of_the_next_seeds(engine: Engine) -> None:
    three = draw(engine, n=3)
    assert [image["seed"] for image in three.data["images"]] == [7, 8, 9]
    assert [file.name for file in three.files] == [
        "output_00001_.png", "output_00002_.png", "output_00003_.png",
    ]  # fmt: skip
    for number in range(3):
        assert_same(opened(three, number), opened(draw(engine, seed=7 + number)))
