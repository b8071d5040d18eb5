"""Prices that an operator sets: each from its moment on, and none ever rewritten."""

import time
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, transaction
from django.utils import timezone

from billing import prices
from billing.models import PriceChange
from modelpilot.accounts.models import AuditEntry, User
from modelpilot.fleet import deployments
from modelpilot.fleet.models import Deployment

pytestmark = pytest.mark.django_db(transaction=True)
MODEL = "piper-joe"
SOON = timedelta(milliseconds=400)


@pytest.fixture(autouse=True)
def deployed(books: None) -> None:
    Deployment.objects.create(model=MODEL)


def now() -> dict[str, int] | None:
    """What a request would meet: the same for one model, all models, and the price list."""
    serving = deployments.serving(MODEL)
    (listed,) = deployments.all_serving()
    assert serving is not None
    assert serving.price == listed.price == prices.in_force().get(MODEL)
    return serving.price


def test_the_card_holds_until_somebody_sets_another() -> None:
    assert now() is None
    prices.change(MODEL, {"request": 7}, reason="dearer")
    assert now() == {"request": 7}
    prices.change(MODEL, {"request": 5, "characters": 20}, reason="cheaper")
    prices.change("kokoro", {"request": 9}, reason="another model")
    assert now() == {"request": 5, "characters": 20}
    prices.change(MODEL, {"request": 0}, reason="free for a week")
    assert now() == {}
    prices.change(MODEL, None, reason="as before")
    assert now() is None


def test_one_starts_at_its_moment() -> None:
    prices.change(MODEL, {"request": 7}, reason="now")
    prices.change(MODEL, {"request": 8}, reason="soon", starts_at=timezone.now() + SOON)
    prices.change(MODEL, {"request": 6}, reason="until then")
    assert now() == {"request": 6}
    time.sleep(SOON.total_seconds())
    assert now() == {"request": 8}


def test_one_that_has_not_started_can_be_cancelled(bob: User) -> None:
    later = timezone.now() + SOON
    coming = prices.change(MODEL, {"request": 8}, reason="soon", starts_at=later, by=bob.id)
    assert prices.cancel(coming.id, by=bob.id)
    assert not prices.cancel(coming.id)
    time.sleep(SOON.total_seconds())
    assert now() is None
    coming.refresh_from_db()
    assert (coming.created_by, coming.cancelled_by, coming.reason) == (bob, bob, "soon")

    started = prices.change(MODEL, {"request": 9}, reason="now")
    assert not prices.cancel(started.id)
    assert now() == {"request": 9}


def test_nothing_is_rewritten() -> None:
    made = prices.change(MODEL, {"request": 7}, reason="now")
    rows = PriceChange.objects.filter(id=made.id)
    for rewrite in (
        lambda: rows.update(price={"request": 1}),
        lambda: rows.update(reason="another"),
        lambda: rows.delete(),
    ):
        with (
            pytest.raises(ProgrammingError, match="never changed or deleted"),
            transaction.atomic(),
        ):
            rewrite()
    with pytest.raises(ValueError, match="in the past"):
        past = timezone.now() - timedelta(seconds=5)
        prices.change(MODEL, {"request": 7}, reason="was", starts_at=past)
    with pytest.raises(ValueError):
        prices.change(MODEL, {"smiles": 7}, reason="no such part")
    assert now() == {"request": 7}


def test_it_is_found_by_one_step_in_an_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_pricechange (model, price, reason, created_at, starts_at) "
            "SELECT 'model ' || n % 50, '{\"request\": 1}', '', now(), now() "
            "FROM generate_series(1, 20000) n"
        )
        cursor.execute("ANALYZE billing_pricechange")
        cursor.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) "
            + deployments.SERVING
            + f"WHERE deployment.model = '{MODEL}'"
        )
        assert "price_in_force" in str(cursor.fetchone())


def command(*words: str) -> str:
    out = StringIO()
    call_command("price", *words, stdout=out)
    return out.getvalue()


def test_the_command_sets_lists_and_cancels() -> None:
    said = command("set", MODEL, "request=0.002", "characters=0.01", "--reason", "dearer")
    assert "$0.002/request + $0.01/1K characters" in said
    assert now() == {"request": 2000, "characters": 10_000}
    coming = command("set", MODEL, "1", "--from", "2999-01-01", "--reason", "the future")
    assert "from 2999-01-01 00:00:00 UTC  by manage.py: the future" in coming
    listed = command("list")
    assert "piper-joe  $0.002/request + $0.01/1K characters (changed)\n" in listed
    assert "kokoro  $0.002\n" in listed
    assert coming.strip() in listed
    assert command("cancel", coming.split()[0]) == "Cancelled.\n"
    command("set", MODEL, "--card", "--reason", "as before")
    assert now() is None
    entries = AuditEntry.objects.order_by("id").values_list("action", "subject")
    assert list(entries)[-4:] == [
        ("price.change", MODEL),
        ("price.change", MODEL),
        ("price.cancel", f"price change {coming.split()[0]}"),
        ("price.change", MODEL),
    ]
    assert AuditEntry.objects.filter(action="price.change").latest("id").detail["price"] is None


@pytest.mark.parametrize(
    "words",
    [
        ["set", "nothing", "1"],
        ["set", MODEL],
        ["set", MODEL, "1", "--card"],
        ["set", MODEL, "dear"],
        ["set", MODEL, "input_tokens=1"],
        ["set", MODEL, "1", "--from", "tomorrow"],
        ["set", MODEL, "1", "--from", "2020-01-01"],
        ["cancel", "1"],
    ],
)
def test_the_command_says_what_is_wrong(words: list[str]) -> None:
    reason = [] if words[0] == "cancel" else ["--reason", "a test"]
    with pytest.raises(CommandError):
        command(*words, *reason)
    assert not PriceChange.objects.exists()
