"""A running product that has everything around it: where its customers pay, where they have other
accounts, and small models of all kinds. One for the session, for the tests of the API and of
security."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_identity.provider import Provider, environment
from tests.fake_identity.provider import serving as identities
from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET
from tests.fake_stripe.server import KEY as STRIPE_KEY
from tests.fake_stripe.server import serving
from tests.system import CATALOG, ROOT, System, product

MODELS = ROOT / "tests" / "api" / "catalog.toml"
FAMILIES = ROOT / "tests" / "clients" / "catalog.toml"


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
def shop(stripe: StripeAccount, identity: Provider) -> Iterator[System]:
    with product(
        MODELPILOT_CATALOG=f"{CATALOG},{MODELS},{FAMILIES}",
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
