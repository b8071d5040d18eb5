"""`manage.py key`: what it makes, shows and refuses."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User


def said(*words: object) -> list[str]:
    """The lines that `manage.py key …` prints."""
    out = StringIO()
    call_command("key", *map(str, words), stdout=out)
    return out.getvalue().splitlines()


def test_it_makes_a_key_with_bounds(alice: User) -> None:
    *_, key = said(
        "create",
        "Alice@example.com",
        "--name=ci",
        "--permissions=read,proxy",
        "--models=kokoro,gemma3",
        "--requests-per-minute=60",
        "--concurrency=4",
        "--expires=30d",
    )

    principal = keys.authenticate(key)
    assert principal is not None
    assert principal.user_id == alice.id
    assert principal.permissions == {"read", "proxy"}
    assert principal.models == frozenset(["kokoro", "gemma3:4b"])
    assert (principal.requests_per_minute, principal.concurrency) == (60, 4)
    assert ApiKey.objects.get().name == "ci"


def test_it_lists_keys_without_their_secrets(alice: User, bob: User) -> None:
    secret = keys.create(alice, name="one", concurrency=4)
    keys.create(bob, name="another")

    (line,) = said("list", alice.email)

    key = ApiKey.objects.get(user=alice)
    assert line.startswith(f"{key.id}  one (…{secret[-4:]})")
    assert "4 jobs at once" in line
    assert "never used" in line
    assert secret not in line


def test_it_changes_only_the_bounds_that_are_given(alice: User) -> None:
    keys.create(alice, concurrency=4, requests_per_minute=60)
    key = ApiKey.objects.get()

    said("limit", key.id, "--concurrency=none", "--expires=2030-12-31")

    key.refresh_from_db()
    assert (key.concurrency, key.requests_per_minute) == (None, 60)
    assert key.expires_at is not None
    assert f"{key.expires_at:%Y-%m-%d %H:%M}" == "2030-12-31 00:00"
    said("limit", key.id, "--models=all", "--expires=never")
    assert ApiKey.objects.filter(allowed_models=None, expires_at=None).exists()


def test_it_rotates_and_revokes(alice: User) -> None:
    old = keys.create(alice)
    key = ApiKey.objects.get()

    *_, new = said("rotate", key.id)
    assert keys.authenticate(old) == keys.authenticate(new)
    assert "old secret works until" in said("list", alice.email)[0]
    *_, newest = said("rotate", key.id, "--overlap=0")
    assert keys.authenticate(new) is None

    said("revoke", key.id)
    assert keys.authenticate(newest) is None
    assert "REVOKED" in said("list", alice.email)[0]
    with pytest.raises(CommandError, match="is revoked"):
        said("rotate", key.id)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["create", "nobody@example.com"], "no account"),
        (["create", "alice@example.com", "--models=nothing"], "no 'nothing' in the catalog"),
        (["create", "alice@example.com", "--models="], "--models takes"),
        (["create", "alice@example.com", "--concurrency=0"], "--concurrency"),
        (["create", "alice@example.com", "--requests-per-minute=many"], "--requests-per-minute"),
        (["create", "alice@example.com", "--expires=soon"], "--expires"),
        (["create", "alice@example.com", "--permissions=all"], "--permissions takes"),
        (["limit", "0"], "no key 0"),
        (["revoke", "0"], "no key 0"),
        (["rotate", "0", "--overlap=soon"], "--overlap"),
    ],
)
def test_it_says_what_is_wrong(alice: User, words: list[str], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        said(*words)
    assert not ApiKey.objects.exists()


def test_a_limit_without_a_bound_is_a_mistake(alice: User) -> None:
    keys.create(alice)
    with pytest.raises(CommandError, match="Say what to change"):
        said("limit", ApiKey.objects.get().id)


def test_it_sets_and_shows_budgets(alice: User) -> None:
    said("create", alice.email, "--daily=5", "--soft=80%")
    key = ApiKey.objects.get()

    said("limit", key.id, "--monthly=50.00")

    (line,) = said("list", alice.email)
    assert "daily $0.00 of $5.00 (mail at $4.00); monthly $0.00 of $50.00;" in line
    said("limit", key.id, "--daily=none", "--soft=20.50")
    (line,) = said("list", alice.email)
    assert "daily" not in line
    assert "monthly $0.00 of $50.00 (mail at $20.50)" in line
    said("limit", key.id, "--monthly=40")
    assert "monthly $0.00 of $40.00 (mail at $20.50)" in said("list", alice.email)[0]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--daily=five"], "--daily takes an amount"),
        (["--daily=-1"], "--daily takes an amount"),
        (["--daily=0.0000001"], "--daily takes an amount"),
        (["--monthly=1e99"], "--monthly takes an amount"),
        (["--daily=5", "--soft=0%"], "--soft takes 1% to 100%"),
        (["--daily=5", "--soft=many"], "--soft takes an amount"),
        (["--soft=80%"], "--soft is about a budget"),
    ],
)
def test_a_wrong_budget_makes_no_key(alice: User, words: list[str], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        said("create", alice.email, *words)
    assert not ApiKey.objects.exists()


def test_an_accounts_budgets_have_a_command_of_their_own(alice: User) -> None:
    said("create", alice.email, "--name=ci", "--daily=5")

    out = StringIO()
    call_command("budget", "Alice@example.com", "--monthly=50", "--low-balance=2", stdout=out)

    account, key, low = out.getvalue().splitlines()
    assert account.startswith("account: monthly $0.00 of $50.00, renews ")
    assert key.startswith(f"key {ApiKey.objects.get().id} (ci): daily $0.00 of $5.00, renews ")
    assert low == "a mail below $2.00"
    with pytest.raises(CommandError, match="no account"):
        call_command("budget", "nobody@example.com")
