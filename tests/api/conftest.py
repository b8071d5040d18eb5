"""One running product for all of these tests, and the cast as its clients."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.api.caller import Caller
from tests.system import CATALOG, System, product

NewCaller = Callable[..., Caller]


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    mine = Path(__file__).with_name("catalog.toml")
    with product(MODELPILOT_CATALOG=f"{CATALOG},{mine}") as system:
        yield system.start()


@pytest.fixture(scope="session")
def alice(system: System) -> Caller:
    """Owns things; has a hundred dollars."""
    return Caller(system.base_url, system.account("alice@example.com", "100"))


@pytest.fixture(scope="session")
def bob(system: System) -> Caller:
    """The operator."""
    return Caller(system.base_url, system.account("bob@example.com", "100", staff=True))


@pytest.fixture(scope="session")
def charlie(system: System) -> Caller:
    """Has money, and must see nothing of the others'."""
    return Caller(system.base_url, system.account("charlie@example.com", "100"))


@pytest.fixture(scope="session")
def newcomer(system: System) -> NewCaller:
    """Makes callers that nobody else uses: for counting what they pay."""
    numbers = count(1)

    def make(credit: str = "1", **options: str | bool) -> Caller:
        key = system.account(f"newcomer{next(numbers)}@example.com", credit, **options)
        return Caller(system.base_url, key)

    return make


@pytest.fixture(scope="session")
def deployments(bob: Caller) -> dict[str, str]:
    """The ids of the deployments, by model."""
    listed = bob.get("deployments").json()["data"]
    return {deployment["model"]: deployment["id"] for deployment in listed}
