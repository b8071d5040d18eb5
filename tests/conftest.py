"""Fixtures for all tests: the cast, on the session's own PostgreSQL and Valkey."""

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings

from billing import ledger
from modelpilot.accounts.models import User
from modelpilot.jobs import valkey
from tests.cast import MOST_AT_ONCE, member
from tests.shop import identity, shop, stripe
from tests.system import system

__all__ = ["identity", "shop", "stripe", "system"]

# How long examples take on a busy machine says nothing about what they are examples of.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Room for everybody in `at_once`, where a process of the product has eight connections."""
    connection.settings_dict["OPTIONS"]["pool"] |= {"max_size": MOST_AT_ONCE + 2}


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether tests that can take any time take what they need (`--full`)."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What a test that draws lots begins with: of the run, and printed at its end (`--seed`)."""
    return int(request.config.getoption("--seed"))


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
