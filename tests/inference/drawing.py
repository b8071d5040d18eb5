"""What the tests of pictures share: requests, pictures to begin with, and who listens."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from inference.catalog import Card
from inference.errors import Cancelled
from inference.types import Engine, Event, ImageRequest, Preview, Progress, Result


def asking(**changes: Any) -> ImageRequest:
    """A request for one small picture."""
    usual = {"prompt": "a red fox", "width": 32, "height": 32, "steps": 3, "seed": 7}
    return ImageRequest(**{**usual, **changes})


def draw(engine: Engine, **changes: Any) -> Result:
    return engine.generate(asking(**changes), lambda event: None)


def draw_together(engine: Engine, requests: list[ImageRequest]) -> list[Result]:
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(lambda request: engine.generate(request, ignore), requests))


def ignore(event: Event) -> None:
    """Hears an event and wants no other."""


def pixels(result: Result, number: int = 0) -> bytes:
    return opened(result, number).tobytes()


def opened(result: Result, number: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(result.files[number].content))


def assert_same(one: Image.Image, other: Image.Image) -> None:
    """Equal, but for values that fell on the border between two: of 255, one apart at the most.

    A matrix is multiplied in another order when it has more rows, so the last bit of a float
    may differ. At 1e-6 that moves about one value of 20,000 over a border.
    """
    assert one.size == other.size
    apart = np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.001


def encoded(picture: Image.Image, format: str = "PNG", **settings: Any) -> bytes:  # noqa: A002
    stream = io.BytesIO()
    picture.save(stream, format, **settings)
    return stream.getvalue()


def plain(colour: str = "orange", size: tuple[int, int] = (80, 60)) -> bytes:
    return encoded(Image.new("RGB", size, colour))


def half_mask(size: tuple[int, int] = (32, 32)) -> bytes:
    """White on the right."""
    mask = Image.new("L", size)
    mask.paste(255, (size[0] // 2, 0, *size))
    return encoded(mask)


def with_options(card: Card, **options: Any) -> Card:
    return card.model_copy(update={"options": {**card.options, **options}})


class Heard:
    """Keeps all events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def previews(self) -> list[Image.Image]:
        contents = [event.content for event in self.events if isinstance(event, Preview)]
        return [Image.open(io.BytesIO(content)) for content in contents]

    @property
    def fractions(self) -> list[float]:
        return [event.fraction for event in self.events if isinstance(event, Progress)]


class Steps:
    """Counts the steps that it hears of, and cancels at the `last`."""

    def __init__(self, last: int | None = None) -> None:
        self.heard: list[float] = []
        self.last = last
        self.first_step = threading.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and event.fraction > 0:
            self.heard.append(event.fraction)
            self.first_step.set()
            if self.last is not None and len(self.heard) >= self.last:
                raise Cancelled
