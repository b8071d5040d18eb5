"""API keys: their form, what is stored of them, and when they work."""

import threading
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User
from tests.cast import at_once


def test_a_key_has_a_prefix_and_a_checksum(db: None, alice: User) -> None:
    key = keys.create(alice)

    assert key.startswith("mp_live_")
    assert len(key) == 44
    assert keys.well_formed(key)
    assert ApiKey.objects.get().last_four == key[-4:]


@given(st.text(max_size=60))
def test_junk_is_not_well_formed(text: str) -> None:
    assert not keys.well_formed(text)


@given(st.integers(8, 43), st.sampled_from(keys.ALPHABET))
def test_one_wrong_character_is_noticed(place: int, character: str) -> None:
    secret = "A" * 30
    key = keys.PREFIX + secret + keys.checksum(secret)
    typo = key[:place] + character + key[place + 1 :]
    assert keys.well_formed(typo) == (typo == key)


def test_the_key_itself_is_not_stored(db: None, alice: User) -> None:
    key = keys.create(alice)

    stored = ApiKey.objects.values().get()
    assert key not in repr(stored)
    assert bytes(stored["digest"]) == keys.digest(key)


def test_a_key_names_its_owner_and_what_it_may_do(db: None, alice: User) -> None:
    key = keys.create(alice, permissions=["read"], allowed_models=["echo"])

    principal = keys.authenticate(key)

    assert principal is not None
    assert principal.user_id == alice.id
    assert principal.permissions == {"read"}
    assert principal.may_use("echo")
    assert not principal.may_use("smollm2-135m")
    assert not principal.can_deploy


def test_staff_may_deploy(db: None, bob: User) -> None:
    principal = keys.authenticate(keys.create(bob))

    assert principal is not None
    assert principal.can_deploy


def test_a_revoked_key_is_refused_at_once(db: None, alice: User) -> None:
    key = keys.create(alice)
    assert keys.authenticate(key)

    keys.revoke(ApiKey.objects.get())

    assert keys.authenticate(key) is None


def test_an_expired_key_is_refused(db: None, alice: User) -> None:
    key = keys.create(alice, expires_at=timezone.now() + timedelta(hours=1))
    assert keys.authenticate(key)

    ApiKey.objects.update(expires_at=timezone.now() - timedelta(hours=1))

    assert keys.authenticate(key) is None


def test_a_key_of_an_inactive_user_is_refused(db: None, alice: User) -> None:
    key = keys.create(alice)
    User.objects.filter(id=alice.id).update(is_active=False)

    assert keys.authenticate(key) is None


def test_use_is_noted_once_a_minute(db: None, alice: User) -> None:
    key = keys.create(alice)
    keys.authenticate(key)
    first = ApiKey.objects.get().last_used_at

    keys.authenticate(key)

    assert first is not None
    assert ApiKey.objects.get().last_used_at == first


@pytest.mark.django_db(transaction=True)
def test_nothing_is_accepted_after_revoke_returns(alice: User) -> None:
    key = keys.create(alice)
    row = ApiKey.objects.get()

    revoked = threading.Event()

    def use(number: int) -> tuple[bool, bool]:
        if number == 20:
            keys.revoke(row)
            revoked.set()
        late = revoked.is_set()
        return late, keys.authenticate(key) is not None

    outcomes = at_once(60, use)

    assert outcomes[20] == (True, False)
    assert (True, True) not in outcomes


def test_after_a_rotation_both_secrets_are_one_key(db: None, alice: User) -> None:
    old = keys.create(alice, permissions=["read"], concurrency=2)
    key = ApiKey.objects.get()

    new = keys.rotate(key)

    assert new != old
    assert keys.authenticate(new) == keys.authenticate(old)
    assert ApiKey.objects.get().last_four == new[-4:]
    stored = repr(ApiKey.objects.values().get())
    assert old not in stored
    assert new not in stored


def test_the_old_secret_ends_with_its_overlap(db: None, alice: User) -> None:
    old = keys.create(alice)
    new = keys.rotate(ApiKey.objects.get(), timedelta(hours=1))
    ApiKey.objects.update(previous_until=timezone.now() - timedelta(seconds=1))

    assert keys.authenticate(old) is None
    assert "was rotated, and worked until" in keys.refusal(old)
    assert keys.authenticate(new)


def test_a_rotation_without_overlap_ends_the_old_secret_at_once(db: None, alice: User) -> None:
    old = keys.create(alice)

    keys.rotate(ApiKey.objects.get(), timedelta(0))

    assert keys.authenticate(old) is None


def test_a_second_rotation_ends_the_first_secret(db: None, alice: User) -> None:
    first = keys.create(alice)
    second = keys.rotate(ApiKey.objects.get())
    third = keys.rotate(ApiKey.objects.get())

    assert keys.authenticate(first) is None
    assert keys.authenticate(second) == keys.authenticate(third)
    assert keys.authenticate(third)


def test_revoking_ends_old_and_new(db: None, alice: User) -> None:
    old = keys.create(alice)
    new = keys.rotate(ApiKey.objects.get())

    keys.revoke(ApiKey.objects.get())

    assert keys.authenticate(old) is None
    assert keys.authenticate(new) is None
    assert "was revoked on" in keys.refusal(new)
    with pytest.raises(ValueError, match="revoked"):
        keys.rotate(ApiKey.objects.get())


def test_it_says_why_a_key_is_refused(db: None, alice: User) -> None:
    key = keys.create(alice, expires_at=timezone.now() - timedelta(hours=1))

    assert "expired on" in keys.refusal(key)
    unknown = keys.new_key()
    for other in ("", "junk", unknown):
        assert "missing, wrong, expired or revoked" in keys.refusal(other)


def test_bounds_hold_for_the_next_call(db: None, alice: User) -> None:
    secret = keys.create(alice)
    key = ApiKey.objects.get()

    keys.limit(key, requests_per_minute=5, concurrency=2, allowed_models=["echo"])
    bound = keys.authenticate(secret)
    keys.limit(key, concurrency=None)
    loosened = keys.authenticate(secret)

    assert bound is not None
    assert (bound.requests_per_minute, bound.concurrency) == (5, 2)
    assert bound.models == frozenset(["echo"])
    assert loosened is not None
    assert (loosened.requests_per_minute, loosened.concurrency) == (5, None)
