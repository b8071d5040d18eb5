"""One running product for all of these tests, and the cast as its clients."""

from collections.abc import Callable
from itertools import count

import pytest

from tests.api.caller import Caller
from tests.system import System

NewCaller = Callable[..., Caller]


@pytest.fixture(scope="session")
def system(shop: System) -> System:
    return shop


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
    # Most want a dollar or nothing, and all permissions: many are made at once, as that takes
    # a second.
    ready: dict[str, list[str]] = {"1": [], "0": []}

    def make(credit: str = "1", **options: str | bool) -> Caller:
        if credit not in ready or options:
            name = f"newcomer{next(numbers)}@example.com"
            return Caller(system.base_url, system.account(name, credit, **options))
        if not ready[credit]:
            names = [f"newcomer{next(numbers)}@example.com" for _ in range(25)]
            ready[credit].extend(system.accounts(names, credit))
        return Caller(system.base_url, ready[credit].pop())

    return make


@pytest.fixture(scope="session")
def deployments(bob: Caller) -> dict[str, str]:
    """The ids of the deployments, by model."""
    listed = bob.get("deployments").json()["data"]
    return {deployment["model"]: deployment["id"] for deployment in listed}
