"""A GPU for each test, or a clear word that there is none."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inference import catalog, engines
from inference.catalog import Card, Catalog, Source
from inference.types import Device, Engine
from inference.weights import Weights, find

# What an engine may use of the GPU where a test does not say otherwise.
MEMORY_MB = 6000


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--on-cpu", action="store_true", help="only to see that the tests themselves run"
    )
    parser.addoption("--models", default="data/models", help="where weights are, SmolLM2's GGUF")


def pytest_sessionstart(session: pytest.Session) -> None:
    if not torch.cuda.is_available() and not session.config.option.on_cpu:
        pytest.exit("There is no NVIDIA GPU that PyTorch can use here: nothing was tested.", 1)


@pytest.fixture(scope="session")
def on_gpu(request: pytest.FixtureRequest) -> bool:
    return not request.config.getoption("--on-cpu")


@pytest.fixture(scope="session")
def device(on_gpu: bool) -> Callable[..., Device]:
    """Where to load: `memory_mb` of the GPU."""

    def made(memory_mb: int | None = MEMORY_MB) -> Device:
        return Device("cuda", 0, 4, memory_mb) if on_gpu else Device(threads=2)

    return made


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.getoption("--models"))


@pytest.fixture(scope="session")
def cards() -> Catalog:
    return catalog.load([])


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """The folder of a tiny model: of a "text" family, a "pipeline", or "whisper"."""
    folder = tmp_path_factory.mktemp("tiny")

    def made(kind: str, name: str) -> Path:
        place = folder / kind / name
        if place.exists():
            return place
        # A machine may have the libraries for one kind and not for another.
        if kind == "text":
            from tests.inference import tiny_text

            tiny_text.make(name, place)
        elif kind == "pipeline":
            from tests.inference import tiny_pipelines

            tiny_pipelines.make(name, place.parent)
        else:
            from tests.inference import tiny_whisper

            place.mkdir(parents=True)
            tiny_whisper.make(place)
        return place

    return made


@pytest.fixture
def load(device: Callable[..., Device]) -> Iterator[Callable[..., Any]]:
    """Load a card's engine, closed when the test ends."""
    loaded: list[Engine] = []

    def made(card: Card, folder: Path | None = None, memory_mb: int | None = MEMORY_MB) -> Any:
        where = device(memory_mb)
        changes: dict[str, Any] = {"device": where.kind}
        if folder is not None:
            changes["files"] = {"model": Source(sources=[f"file:{folder}"])}
        card = card.model_copy(update=changes)
        found = Weights({"model": folder}) if folder else find(card, Path(), Path())
        loaded.append(engines.load(card, found, where))
        return loaded[-1]

    yield made
    for engine in loaded:
        engine.close()


@pytest.fixture
def memory(on_gpu: bool) -> Callable[[], int]:
    """How many bytes of the GPU PyTorch's tensors take now."""

    def taken() -> int:
        gc.collect()
        return torch.cuda.memory_allocated() if on_gpu else 0

    return taken
