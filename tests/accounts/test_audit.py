"""The audit log: a row for every change of keys, roles and deployments, and rows stay."""

from collections.abc import Iterator

import pytest
from django.db import DatabaseError, connection, transaction

from inference.catalog import Card
from modelpilot.accounts import audit, keys
from modelpilot.accounts.audit import of_user
from modelpilot.accounts.models import ApiKey, AuditEntry, User
from modelpilot.fleet import deployments
from modelpilot.fleet.catalog import cards

pytestmark = pytest.mark.django_db


@pytest.fixture
def by_bob(bob: User) -> Iterator[None]:
    before = audit.acting.set(of_user(bob, "192.0.2.7"))
    yield
    audit.acting.reset(before)


def entries() -> list[tuple[str, str, str, str | None]]:
    rows = AuditEntry.objects.order_by("id")
    return [(row.actor, row.action, row.subject, row.address) for row in rows]


def test_what_is_done_to_a_key_is_written_down_without_the_key(alice: User, by_bob: None) -> None:
    secret = keys.create(alice, name="shop", concurrency=3)
    key = ApiKey.objects.get()
    keys.limit(key, requests_per_minute=10)
    fresh = keys.rotate(key)
    keys.revoke(key)
    keys.revoke(key)
    who, subject = "bob@example.com", f"key {key.id} of alice@example.com"
    actions = ["key.create", "key.limit", "key.rotate", "key.revoke"]
    assert entries() == [(who, action, subject, "192.0.2.7") for action in actions]
    assert AuditEntry.objects.get(action="key.create").detail["concurrency"] == 3
    assert AuditEntry.objects.get(action="key.limit").detail == {"requests_per_minute": 10}
    written = str(list(AuditEntry.objects.values()))
    assert secret not in written
    assert fresh not in written


def test_a_change_that_fails_leaves_no_row(alice: User) -> None:
    keys.create(alice)
    key = ApiKey.objects.get()
    keys.revoke(key)
    before = entries()
    with pytest.raises(ValueError, match="is revoked"):
        keys.rotate(key)
    assert entries() == before


def test_deployments(books: None) -> None:
    card: Card = cards().cards["emoji-64"]
    deployment = deployments.deploy(card)
    deployments.stop(deployment)
    deployments.deploy(card)
    deployments.change(deployment, pinned=True)
    actions = ["create", "stop", "start", "change"]
    subject = f"deployment {deployment.id} of emoji-64"
    assert [row[:3] for row in entries()] == [
        ("manage.py", f"deployment.{action}", subject) for action in actions
    ]
    assert AuditEntry.objects.get(action="deployment.change").detail == {"pinned": True}


@pytest.mark.parametrize("verb", ["UPDATE accounts_auditentry SET actor = 'x'",
                                  "DELETE FROM accounts_auditentry"])  # fmt: skip
def test_rows_are_never_changed_or_deleted(alice: User, verb: str) -> None:
    keys.create(alice)
    with (
        pytest.raises(DatabaseError, match="never changed"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(verb)
