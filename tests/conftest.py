"""Fixtures for all tests: the cast, on the session's own PostgreSQL and Valkey."""

import pytest

from billing import ledger
from modelpilot.accounts.models import User
from modelpilot.jobs import valkey
from tests.cast import member
from tests.shop import identity, shop, stripe
from tests.system import system

__all__ = ["identity", "shop", "stripe", "system"]


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether tests that can take any time take what they need (`--full`)."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def books(db: None) -> None:
    """The system's accounts, which a test with real transactions empties with all else."""
    ledger.open_system_accounts()
    valkey.client().flushdb()


@pytest.fixture
def alice(books: None) -> User:
    """Owns things; has ten dollars."""
    return member("alice", "10")


@pytest.fixture
def bob(books: None) -> User:
    """The operator."""
    return member("bob", "10", is_staff=True, is_superuser=True, can_deploy=True)


@pytest.fixture
def charlie(books: None) -> User:
    """Has nothing, and must see nothing of the others'."""
    return member("charlie")
