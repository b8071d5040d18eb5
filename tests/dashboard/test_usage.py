"""Usage and the overview: what they sum is what the ledger charged."""

import re
from datetime import timedelta

from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from billing.models import Transfer
from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User
from modelpilot.dashboard.tags import dollars
from modelpilot.jobs import usage
from modelpilot.jobs.models import Job, Usage
from tests.cast import PRICE
from tests.dashboard.conftest import SignedIn
from tests.dashboard.jobs import ended, said


def used(owner: User, days_ago: int, model: str, cost: int, requests: int = 1) -> None:
    """A line of the past, as ending jobs would have left it."""
    Usage.objects.create(
        owner=owner,
        day=usage.today() - timedelta(days=days_ago),
        model=model,
        requests=requests,
        succeeded=requests,
        failed=0,
        cost=cost,
        tokens_in=0,
        tokens_out=0,
        seconds=1.0,
    )


def test_it_equals_the_ledger(signed_in: SignedIn, alice: User) -> None:
    keys.create(alice, name="one")
    key = ApiKey.objects.get()
    ended(alice, key=key.id, result=said("x"))
    ended(alice, model="other")
    ended(alice, state=Job.State.FAILED)
    charged = Transfer.objects.filter(code="charge").aggregate(sum=Sum("amount"))["sum"]

    client = signed_in(alice)
    shown = client.get("/dashboard/usage/").content.decode()
    overview = client.get("/dashboard/").content.decode()

    assert charged == 2 * PRICE
    assert f'<span class="value">{dollars(charged)}</span>' in shown
    assert f'<span class="value">{dollars(charged)}</span>' in overview
    assert "1 failed" in shown
    assert "This site" in shown
    assert ">one</td>" in shown


def test_a_month_is_shown_alone(signed_in: SignedIn, alice: User) -> None:
    used(alice, 0, "now", 1000)
    used(alice, 40, "then", 7_000_000)
    client = signed_in(alice)
    then = usage.today() - timedelta(days=40)

    this = client.get("/dashboard/usage/").content.decode()
    past = client.get(f"/dashboard/usage/?month={then:%Y-%m}&by=model").content.decode()

    assert "now" in this
    assert "$7.00" not in this
    assert "$7.00" in past
    assert f"from={then.replace(day=1):%Y-%m-%d}&amp;to=" in past
    for nonsense in ("month=1999-01", "month=x", "show=x&by=y"):
        assert client.get(f"/dashboard/usage/?{nonsense}").status_code == 200


def test_two_keys_of_one_name_are_told_apart(signed_in: SignedIn, alice: User) -> None:
    for _ in range(2):
        keys.create(alice, name="same")
    for key in ApiKey.objects.all():
        ended(alice, key=key.id)
    shown = signed_in(alice).get("/dashboard/usage/?by=key").content.decode()

    assert len(set(re.findall(r">(same \d+)</td>", shown))) == 2


def test_the_overview_counts_by_model(signed_in: SignedIn, alice: User) -> None:
    ended(alice)
    ended(alice, model="other", state=Job.State.FAILED)
    used(alice, 20, "echo", 5, requests=40)
    client = signed_in(alice)

    month = client.get("/dashboard/").content.decode()
    week = client.get("/dashboard/?days=7").content.decode()

    assert "42 in all" in month
    assert "2 in all" in week
    assert month.count("<figure") == 2
    # p50 and p95 of what succeeded, with a bar that can be read.
    assert 'aria-label="echo: half within' in month
    assert 'aria-label="other' not in month


def test_a_new_account_is_shown_the_way(signed_in: SignedIn, charlie: User) -> None:
    client = signed_in(charlie)
    assert "Make a key" in client.get("/dashboard/").content.decode()

    keys.create(charlie)
    shown = client.get("/dashboard/").content.decode()
    assert "Make a key" not in shown
    assert "you have a key" in shown


def test_many_models_and_keys_ask_as_often(signed_in: SignedIn, alice: User) -> None:
    for number in range(12):
        keys.create(alice, name=f"key {number}")
        used(alice, number, f"model-{number}", number)
    client = signed_in(alice)
    for path in ("/dashboard/", "/dashboard/usage/", "/dashboard/keys/"):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(path)
        assert len(queries) <= 12, path
        assert len(answer.content) < 50_000, path
