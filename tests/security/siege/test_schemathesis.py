"""Schemathesis tries every operation of the OpenAPI that the running product shows, with all of
its checks, as everybody who may call: answers are as they are described, and none is a 5xx."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.delivery import WEBHOOK_SECRET
from tests.fake_stripe.server import KEY as STRIPE_KEY
from tests.fake_stripe.server import serving
from tests.security.conftest import TOKEN, Person
from tests.system import System, product

CONFIG = Path(__file__).with_name("schemathesis.toml")
CARDS = Path(__file__).with_name("catalog.toml")
# Of each operation, beside some sixty that go along the bounds of its fields. Counted, as in so
# many seconds a busy machine sees little of it.
EXAMPLES, EXAMPLES_IN_FULL = 2, 10


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Of its own, as operators stop its models."""
    account = StripeAccount()
    with serving(account):
        stripe = {
            "STRIPE_SECRET_KEY": STRIPE_KEY,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "STRIPE_API_BASE": account.pay_base,
        }
        with product(MODELPILOT_CATALOG=str(CARDS), **stripe) as system:
            yield system.start()


@pytest.fixture(scope="module")
def session(system: System) -> Person:
    program = "from tests.security import belongings as b; b.visitor('session@example.com')"
    made = json.loads(system.manage("shell", "-v0", "-c", program).splitlines()[-1])
    return Person(**made)


def bearer(system: System, name: str, **options: str | bool) -> list[str]:
    return [f"Authorization: Bearer {system.account(f'{name}@example.com', '1000', **options)}"]


# The operator comes last: models are stopped.
CALLERS: dict[str, Callable[[System, Person], list[str]]] = {
    "nobody": lambda system, session: [],
    "customer": lambda system, session: bearer(system, "customer"),
    "reader": lambda system, session: bearer(system, "reader", permissions="read"),
    "session": lambda system, session: [
        f"Cookie: {session.session_name}={session.session}; csrftoken={TOKEN}",
        f"X-CSRFToken: {TOKEN}",
    ],
    "operator": lambda system, session: bearer(system, "operator", staff=True),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_everything_is_as_described(
    system: System,
    session: Person,
    caller: str,
    full: bool,
    seed: int,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    examples = EXAMPLES_IN_FULL if full else EXAMPLES
    report = tmp_path / "report.json"
    headers = CALLERS[caller](system, session)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"),
            *(f"{system.base_url}/api/v1/openapi.json", "--checks", "all"),
            *("--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"),
            *("--request-timeout", "90", "--max-response-time", "60"),
            *("--no-color", "--warnings", "off"),
            *("--report", "json", "--report-json-path", str(report)),
            *(word for header in headers for word in ("--header", header)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    told = json.loads(report.read_text())
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}{done.stderr}"
    assert (told["failures"], told["errors"]) == ([], [])
    assert told["operations"]["tested"] == told["operations"]["total"] >= 60
    tried = told["test_cases"]["generated"]
    record_property(
        "reached",
        f"{caller}: {tried:,} requests, {len(told['failures'])} failures, seed {seed}",
    )


def test_it_is_well_afterwards(system: System) -> None:
    """Nothing broke inside either, and the books prove."""
    broken = [line for line in system.said().splitlines()
              if " broke" in line or "no database" in line or "Traceback" in line]  # fmt: skip
    assert broken == []
    assert requests.get(f"{system.base_url}/readyz", timeout=10).json()["status"] == "ready"
    deadline = time.monotonic() + 60
    while system.manage("shell", "-v0", "-c", UNDER_WAY).strip() != "0":
        assert time.monotonic() < deadline, "jobs are still under way"
        time.sleep(1)
    system.manage("reconcile")


UNDER_WAY = (
    "from modelpilot.jobs.models import Job; "
    "print(Job.objects.filter(state__in=['queued', 'running']).count())"
)
