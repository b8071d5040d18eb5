"""A product with a small CPU and GPUs that only their driver knows (see driver/)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.caller import Caller
from tests.system import CATALOG, System, product

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def fleet() -> Iterator[System]:
    with product(
        MODELPILOT_CATALOG=f"{CATALOG},{HERE / 'catalog.toml'}",
        MODELPILOT_NODE_MEMORY_MB="1000",
        PYTHONPATH=str(HERE / "driver"),
    ) as system:
        yield system.start()


@pytest.fixture(scope="module")
def alice(fleet: System) -> Caller:
    """Owns things; has ten dollars."""
    return Caller(fleet.base_url, fleet.account("alice@example.com", "10"))


@pytest.fixture(scope="module")
def bob(fleet: System) -> Caller:
    """The operator."""
    return Caller(fleet.base_url, fleet.account("bob@example.com", "10", staff=True))


@pytest.fixture(scope="module")
def charlie(fleet: System) -> Caller:
    """Has money, and must see nothing of the fleet."""
    return Caller(fleet.base_url, fleet.account("charlie@example.com", "10"))
