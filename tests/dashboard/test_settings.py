"""The account's own page: what there is, taking it along, and leaving."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from pytest_django import Settings

from billing import ledger
from billing.ledger import Balance
from billing.models import LowBalance, Purchase, Transfer
from billing.money import micros
from modelpilot.accounts import keys
from modelpilot.accounts.models import AuditEntry, User
from modelpilot.dashboard.tags import browser_name
from modelpilot.jobs import budgets, departure, export, lease, webhooks
from modelpilot.jobs.models import Budget, Job, Output, WebhookEndpoint
from tests.cast import PRICE, assert_books_prove, member, pod_id, submitted
from tests.dashboard.conftest import SignedIn
from tests.dashboard.test_accounts import PASSWORD

SECRET = "the secret of alice"


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    files = {**settings.STORAGES["default"], "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = {**settings.STORAGES, "default": files}
    return tmp_path


def finished(owner: User, text: str = SECRET) -> Job:
    """A job with content and a file, as it is once it has ended."""
    job = submitted(owner, request={"messages": [{"role": "user", "content": text}]})
    (claim,) = lease.claim(job.model, pod_id(), 1)
    answer = {"text": f"You said {text}."}
    assert lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE, result=answer)
    job.refresh_from_db()
    path = default_storage.save(f"{job.id}/{job.attempt}/picture.webp", ContentFile(text.encode()))
    Output.objects.create(
        job=job, name="picture.webp", media_type="image/webp", bytes=len(text), path=path
    )
    return job


def content(user: User) -> dict[str, Any]:
    """What the export holds."""
    with zipfile.ZipFile(io.BytesIO(b"".join(export.parts(user)))) as archive:
        assert archive.testzip() is None
        return {
            name: [json.loads(line) for line in archive.read(name).splitlines()]
            if name.endswith(".jsonl")
            else archive.read(name).decode()
            for name in archive.namelist()
        }


def test_the_page_says_what_there_is(
    signed_in: SignedIn, alice: User, django_assert_max_num_queries: Any
) -> None:
    client = signed_in(alice)
    with django_assert_max_num_queries(12):
        page = client.get("/dashboard/settings/").content.decode()

    assert "alice@example.com" in page
    assert "not verified" in page
    assert "/dashboard/settings/delete" in page


def test_an_export_is_complete_and_ones_own(
    alice: User, charlie: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    key = keys.create(alice, name="laptop")
    made = [finished(alice) for _ in range(5)]
    ledger.grant(charlie.id, micros("1"), ref="test:more", reason="charlie")
    finished(charlie, "the secret of charlie")
    endpoint = webhooks.create(alice.id, "https://example.com/hook")

    found = content(alice)

    assert [job["id"] for job in found["jobs.jsonl"]] == [str(job.id) for job in made]
    assert SECRET in str(found["jobs.jsonl"][0]["request"])
    assert found["jobs.jsonl"][0]["outputs"][0]["name"] == "picture.webp"
    assert [entry["type"] for entry in found["transfers.jsonl"]] == ["charge"] * 5 + ["grant"]
    assert [entry["amount"] for entry in found["transfers.jsonl"]] == [-0.01] * 5 + [10]
    assert [(row["requests"], row["cost"]) for row in found["usage.jsonl"]] == [(5, 0.05)]
    about = json.loads(found["account.json"])
    assert about["email"] == "alice@example.com"
    assert [one["name"] for one in about["keys"]] == ["laptop"]
    assert [one["url"] for one in about["webhooks"]] == ["https://example.com/hook"]
    every = str(found)
    assert key not in every
    assert endpoint.secret not in every
    assert "charlie" not in every


def test_an_export_of_nothing_is_a_zip_too(charlie: User) -> None:
    found = content(charlie)

    assert found["jobs.jsonl"] == found["usage.jsonl"] == []


def test_an_account_is_deleted_and_the_books_still_prove(
    visitor: Client, alice: User, bob: User
) -> None:
    alice.set_password(PASSWORD)
    alice.save()
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    SocialAccount.objects.create(user=alice, provider="github", uid="1", extra_data={})
    Authenticator.objects.create(user=alice, type="recovery_codes", data={})
    key = keys.create(alice, name="alice's laptop")
    webhooks.create(alice.id, "https://example.com/alice")
    budgets.put(alice.id, "day", budgets.Cap(micros("5")))
    budgets.warn_below(alice.id, micros("1"))
    done = [finished(alice) for _ in range(3)]
    others = finished(bob)
    under_way = submitted(alice)
    elsewhere, client = Client(), Client()
    for browser in (elsewhere, client):
        browser.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
        assert browser.get("/dashboard/").status_code == 200

    page = client.get("/dashboard/settings/delete").content
    assert b"$9.97 are left" in page
    for wrong in ({"email": alice.email, "password": "no"}, {"email": "x", "password": PASSWORD}):
        assert client.post("/dashboard/settings/delete", wrong).status_code == 200
    right = {"email": "Alice@example.com", "password": PASSWORD}
    assert client.post("/dashboard/settings/delete", right).headers["Location"] == "/"

    assert client.get("/dashboard/").status_code == elsewhere.get("/dashboard/").status_code == 302
    assert not UserSession.objects.exists()
    assert not Session.objects.filter(session_key=elsewhere.cookies["sessionid"].value).exists()
    assert keys.authenticate(key) is None
    assert departure.erase(budget_s=30) == 1
    assert departure.erase() == 0
    assert_books_prove()

    alice.refresh_from_db()
    assert alice.email == f"deleted-{alice.id}@account.invalid"
    assert (alice.is_active, alice.has_usable_password()) == (False, False)
    assert alice.erased_at is not None
    for personal in (EmailAddress, SocialAccount, Authenticator):
        assert not personal.objects.filter(user=alice).exists()
    assert alice.keys.get().name == "deleted"
    assert WebhookEndpoint.objects.get(owner=alice).url == ""
    assert not LowBalance.objects.exists()
    assert not Budget.objects.exists()
    under_way.refresh_from_db()
    assert under_way.state == Job.State.CANCELLED
    for job in done:
        job.refresh_from_db()
        assert (job.state, job.cost) == (Job.State.SUCCEEDED, PRICE), "the books are about it"
        assert (job.request, job.result) == ({}, None)
        assert not default_storage.exists(f"{job.id}/{job.attempt}/picture.webp")
    assert Transfer.objects.filter(credit__owner=alice, code="grant").exists()
    # What was booked for it can't be spent, and is not anybody else's.
    assert ledger.balance(alice.id) == Balance(micros("9.97"), 0)
    deleted = AuditEntry.objects.get(action="account.delete")
    assert (deleted.actor, deleted.detail) == ("alice@example.com", {"remaining_usd": 9.97})
    others.refresh_from_db()
    assert others.request != {}
    assert default_storage.exists(f"{others.id}/{others.attempt}/picture.webp")


def test_the_address_is_free_again(visitor: Client, charlie: User, bob: User) -> None:
    departure.close(charlie)
    departure.close(charlie)

    again = member("charlie")
    assert again.id != charlie.id
    assert content(again)["jobs.jsonl"] == []


def test_without_a_password_the_address_is_enough(
    signed_in: SignedIn, charlie: User, alice: User
) -> None:
    client = signed_in(charlie)
    client.post("/dashboard/settings/delete", {"email": alice.email})
    charlie.refresh_from_db()
    assert charlie.is_active

    client.post("/dashboard/settings/delete", {"email": charlie.email})
    charlie.refresh_from_db()
    alice.refresh_from_db()
    assert (charlie.is_active, alice.is_active) == (False, True)


def test_what_is_not_settled_keeps_an_account(alice: User, bob: User) -> None:
    with pytest.raises(departure.Refused, match="only operator"):
        departure.close(bob)
    ledger.freeze(alice.id, cause="dispute:1", reason="dispute")
    with pytest.raises(departure.Refused, match="frozen"):
        departure.close(alice)
    ledger.unfreeze(alice.id)
    paying = Purchase.objects.create(owner=alice, amount=micros("5"), state="processing")
    with pytest.raises(departure.Refused, match="on its way"):
        departure.close(alice)
    paying.delete()
    departure.close(alice)


def test_wrong_passwords_are_counted_here_too(signed_in: SignedIn, alice: User) -> None:
    alice.set_password(PASSWORD)
    alice.save()
    client = signed_in(alice)
    form = {"email": alice.email, "password": "wrong"}
    for _ in range(11):
        answer = client.post("/dashboard/settings/delete", form)
    assert b"Too many failed login attempts" in answer.content

    client.post("/dashboard/settings/delete", {**form, "password": PASSWORD})
    alice.refresh_from_db()
    assert alice.is_active


def test_taking_along_is_for_who_is_signed_in(visitor: Client) -> None:
    assert visitor.post("/dashboard/settings/export").status_code == 302
    assert visitor.get("/dashboard/settings/export").status_code == 405


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
            "Chrome on Linux",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari on an iPhone",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 15.0; rv:140.0) Gecko/2010 Firefox/140.0",
            "Firefox on a Mac",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "Unknown"),
    ],
)
def test_sessions_are_called_by_their_browsers(said: str, name: str) -> None:
    assert browser_name(said) == name
