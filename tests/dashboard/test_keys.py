"""Keys on their pages: made and shown once, limited, rotated, revoked."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, AuditEntry, User
from modelpilot.jobs import budgets
from tests.cast import PRICE
from tests.dashboard.conftest import SignedIn
from tests.dashboard.jobs import ended

NEW = {"name": "my program", "permissions": ["read", "proxy", "generate"], "expires": "never"}
SHOWN = re.compile(r"mp_live_[0-9A-Za-z]{36}")


def make(client: Client, **fields: Any) -> str:
    """A key made on the page."""
    answer = client.post("/dashboard/keys/", {**NEW, **fields})
    assert answer.status_code == 200
    found: set[str] = set(SHOWN.findall(answer.content.decode()))
    assert len(found) == 1
    assert "no-store" in answer.headers["Cache-Control"]
    return found.pop()


def limits(key: ApiKey) -> tuple[Any, ...]:
    return key.allowed_models, key.requests_per_minute, key.concurrency


def test_a_key_is_shown_once_and_works(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    fresh = make(client)

    principal = keys.authenticate(fresh)
    assert principal is not None
    assert principal.user_id == alice.id
    assert sorted(principal.permissions) == ["generate", "proxy", "read"]
    listed = client.get("/dashboard/keys/").content.decode()
    assert "my program" in listed
    assert fresh[-4:] in listed
    assert not SHOWN.search(listed)
    assert AuditEntry.objects.get(action="key.create").actor == alice.email


def test_it_has_the_limits_that_were_chosen(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    make(
        client,
        permissions=["read", "proxy"],
        expires="30",
        requests_per_minute="60",
        concurrency="2",
        allowed_models=["emoji-64"],
    )
    key = ApiKey.objects.get()

    assert key.permissions == ["read", "proxy"]
    assert limits(key) == (["emoji-64"], 60, 2)
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    listed = client.get("/dashboard/keys/").content.decode()
    assert "read and proxy only" in listed
    assert "60 requests a minute" in listed


@pytest.mark.parametrize(
    "wrong",
    [
        {"permissions": []},
        {"permissions": ["admin"]},
        {"expires": "tomorrow"},
        {"requests_per_minute": "0"},
        {"concurrency": "-1"},
        {"allowed_models": ["nothing"]},
        {"name": ""},
        {"daily": "-1"},
        {"monthly": "0.0000001"},
        {"daily": "10000000000"},
        {"mail_at": "101"},
        {"name": "x" * 101},
    ],
)
def test_a_wrong_form_makes_nothing(
    signed_in: SignedIn, alice: User, wrong: dict[str, Any]
) -> None:
    answer = signed_in(alice).post("/dashboard/keys/", {**NEW, **wrong})

    assert answer.status_code == 200
    assert b'class="errorlist"' in answer.content
    assert not SHOWN.search(answer.content.decode())
    assert not ApiKey.objects.exists()


def test_limits_change_and_the_rest_stays(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    make(client, expires="7", requests_per_minute="5", allowed_models=["emoji-64"])
    key = ApiKey.objects.get()
    path = f"/dashboard/keys/{key.id}/"

    client.post(path, {"expires": "keep", "concurrency": "3"})

    changed = ApiKey.objects.get()
    assert limits(changed) == (None, None, 3)
    assert changed.expires_at == key.expires_at
    client.post(path, {"expires": "never"})
    assert ApiKey.objects.get().expires_at is None
    assert AuditEntry.objects.filter(action="key.limit").count() == 2


def test_budgets_are_set_changed_and_ended(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    make(client, daily="5", monthly="0.25", mail_at="80")
    key = ApiKey.objects.get()
    path = f"/dashboard/keys/{key.id}/"

    def caps() -> dict[str, tuple[int, int | None, int | None]]:
        return {
            budget.period: (budget.cap, budget.soft_percent, budget.soft)
            for budget in budgets.of_key(key)
        }

    assert caps() == {"day": (5_000_000, 80, 4_000_000), "month": (250_000, 80, 200_000)}
    assert "$5.00 a day" in client.get("/dashboard/keys/").content.decode()
    shown = client.get(path).content.decode()
    assert 'name="daily" value="5"' in shown
    assert 'name="monthly" value="0.25"' in shown

    client.post(path, {"expires": "keep", "daily": "6.5"})
    assert caps() == {"day": (6_500_000, None, None)}
    budgets.put(alice.id, "day", budgets.Cap(6_500_000, soft_amount=1_000_000), key=key.id)
    before = AuditEntry.objects.filter(action="budget.put").count()
    client.post(path, {"expires": "keep", "daily": "6.5"})
    assert caps() == {"day": (6_500_000, None, 1_000_000)}
    assert AuditEntry.objects.filter(action="budget.put").count() == before, "nothing changed"
    client.post(path, {"expires": "keep"})
    assert caps() == {}


def test_rotating_shows_the_new_one_and_the_old_works_on(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    old = make(client)
    key = ApiKey.objects.get()

    answer = client.post(f"/dashboard/keys/{key.id}/rotate", {"overlap": "24"})
    (fresh,) = set(SHOWN.findall(answer.content.decode()))

    assert fresh != old
    assert keys.authenticate(fresh) is not None
    assert keys.authenticate(old) is not None
    client.post(f"/dashboard/keys/{key.id}/rotate", {"overlap": "0"})
    assert keys.authenticate(fresh) is None


def test_a_revoked_key_is_refused_and_stays_so(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    fresh = make(client)
    key = ApiKey.objects.get()

    client.post(f"/dashboard/keys/{key.id}/revoke")

    assert keys.authenticate(fresh) is None
    path = f"/dashboard/keys/{key.id}/"
    assert "revoked" in client.get(path).content.decode()
    client.post(path, {"expires": "never", "concurrency": "3"})
    assert ApiKey.objects.get().concurrency is None
    answer = client.post(f"{path}rotate", {"overlap": "24"})
    assert not SHOWN.search(answer.content.decode())


def test_what_a_key_has_spent_stands_beside_it(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    make(client)
    key = ApiKey.objects.get()
    ended(alice, key=key.id, price=PRICE)
    ended(alice, price=PRICE)

    for path in ("/dashboard/keys/", f"/dashboard/keys/{key.id}/"):
        shown = client.get(path).content.decode()
        assert "1 request" in shown
        assert "$0.01" in shown
        assert "$0.02" not in shown


def test_a_link_changes_nothing(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    secret = make(client)
    key = ApiKey.objects.get()

    for act in ("rotate", "revoke"):
        assert client.get(f"/dashboard/keys/{key.id}/{act}").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice, "django.contrib.auth.backends.ModelBackend")
    assert strict.post(f"/dashboard/keys/{key.id}/revoke").status_code == 403
    assert keys.authenticate(secret) is not None
