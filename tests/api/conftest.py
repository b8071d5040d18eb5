"""One running product for all of these tests, and the cast as its clients."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.api.caller import Caller
from tests.fake_identity.provider import Provider, environment
from tests.fake_identity.provider import serving as identities
from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET
from tests.fake_stripe.server import KEY as STRIPE_KEY
from tests.fake_stripe.server import serving
from tests.system import CATALOG, ROOT, System, product

NewCaller = Callable[..., Caller]


@pytest.fixture(scope="session")
def stripe() -> Iterator[StripeAccount]:
    """Where the product's customers pay."""
    account = StripeAccount()
    with serving(account):
        yield account


@pytest.fixture(scope="session")
def identity() -> Iterator[Provider]:
    """Where the product's customers have accounts, too: GitHub, Google and their employer."""
    with identities() as provider:
        yield provider


@pytest.fixture(scope="session")
def system(stripe: StripeAccount, identity: Provider) -> Iterator[System]:
    mine = Path(__file__).with_name("catalog.toml")
    families = ROOT / "tests" / "clients" / "catalog.toml"
    with product(
        MODELPILOT_CATALOG=f"{CATALOG},{mine},{families}",
        MODELPILOT_WEBHOOK_HTTP_HOSTS="127.0.0.1",
        STRIPE_SECRET_KEY=STRIPE_KEY,
        STRIPE_WEBHOOK_SECRET=WEBHOOK_SECRET,
        STRIPE_WEBHOOK_SECRET_PREVIOUS="whsec_before",
        STRIPE_API_BASE=stripe.pay_base,
        **environment(identity),
    ) as system:
        make_tiny_models(system.data / "models" / "tiny")
        yield system.start()


def make_tiny_models(folder: Path) -> None:
    """In processes of their own: torch would stay in this one."""
    for maker in ("tiny_pipelines", "tiny_text"):
        program = [sys.executable, "-m", f"tests.inference.{maker}", str(folder)]
        subprocess.run(program, check=True, capture_output=True, cwd=ROOT)


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
