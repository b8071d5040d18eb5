"""Real engines, each loaded once for a module's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import catalog, engines, weights
from inference.catalog import Card, Catalog, Source
from inference.types import Device, Engine

Loader = Callable[[Card], Engine]


@pytest.fixture(scope="session")
def cards() -> Catalog:
    return catalog.load([Path(__file__).with_name("echo.toml")])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    """Load a card's engine; the module's end closes it."""
    folder = tmp_path_factory.getbasetemp() / "weights"
    started: list[Engine] = []

    def load(card: Card) -> Engine:
        found = weights.fetch(card, folder / "models", folder / "cache", lambda fraction: None)
        started.append(engines.load(card, found, Device(threads=2)))
        return started[-1]

    yield load
    for engine in started:
        engine.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small diffusers pipeline of this name, made when it is first wanted."""
    # Imported here, as most tests need no torch.
    from tests.inference import tiny_pipelines

    folder = tmp_path_factory.mktemp("pipelines")

    def pipeline(name: str) -> Path:
        place = folder / name
        return place if place.exists() else tiny_pipelines.make(name, folder)

    return pipeline


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny text model of this family, made when it is first wanted."""
    from tests.inference import tiny_text

    folder = tmp_path_factory.mktemp("texts")

    def model(family: str) -> Path:
        place = folder / family
        return place if place.exists() else tiny_text.make(family, place)

    return model


@pytest.fixture(scope="session")
def tiny_card(cards: Catalog, tiny: Callable[[str], Path]) -> Callable[..., Card]:
    """The catalog's card of this name, but its weights are the small pipeline's."""

    def card(name: str, *, pipeline: str | None = None, **changes: Any) -> Card:
        files = {"model": Source(sources=[f"file:{tiny(pipeline or name)}"])}
        return cards.cards[name].model_copy(update={"files": files, **changes})

    return card


@pytest.fixture(scope="module")
def start_tiny(tiny_card: Callable[..., Card]) -> Iterator[Callable[..., Engine]]:
    """Load the engine of a `tiny_card`, on one thread; the module's end closes it."""
    started: list[Engine] = []

    def load(name: str, **changes: Any) -> Engine:
        card = tiny_card(name, **changes)
        found = weights.find(card, Path(), Path())
        # One thread: these are so small that a second one only waits.
        started.append(engines.load(card, found, Device(threads=1)))
        return started[-1]

    yield load
    for engine in started:
        engine.close()
