"""Real engines, each loaded once for a module's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference import catalog, engines, weights
from inference.catalog import Card, Catalog
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
