"""Who may make an account: everybody, whom an operator approves, or who is invited."""

from datetime import timedelta
from io import StringIO

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from billing.models import Account
from modelpilot.accounts import keys, registration
from modelpilot.accounts.models import AuditEntry, Invitation, User
from modelpilot.accounts.registration import Mode
from tests.dashboard.test_accounts import PASSWORD, link_in_the_mail, mailing, sign_up

__all__ = ["mailing"]


def path_of(link: str) -> str:
    return link.partition("8000")[2]


@pytest.mark.parametrize(
    ("host", "public", "mails", "expected"),
    [
        ("127.0.0.1", "", "", Mode.OPEN),
        ("::1", "", "", Mode.OPEN),
        ("0.0.0.0", "", "", Mode.INVITE),
        ("127.0.0.1", "https://ai.example.com", "", Mode.INVITE),
        ("0.0.0.0", "https://ai.example.com", "smtp://mail.example.com", Mode.OPEN),
    ],
)
def test_a_box_that_others_reach_is_shut_until_mails_prove_addresses(
    db: None, settings: Settings, host: str, public: str, mails: str, expected: Mode
) -> None:
    settings.HOST, settings.PUBLIC_URL, settings.EMAIL_URL = host, public, mails

    assert registration.mode() == expected
    registration.change(Mode.APPROVAL)
    assert registration.mode() == Mode.APPROVAL, "what the operator says is what holds"


def test_by_approval_an_account_waits_for_an_operator(visitor: Client, settings: Settings) -> None:
    registration.change(Mode.APPROVAL)
    assert sign_up(visitor) == "/accounts/waiting/"
    assert b"Waiting for approval" in visitor.get("/accounts/waiting/").content
    dora = User.objects.get(email="dora@example.com")
    key = keys.create(dora)

    assert keys.authenticate(key) is None
    again = visitor.post("/accounts/login/", {"login": dora.email, "password": PASSWORD})
    assert again.headers["Location"] == "/accounts/waiting/"
    assert visitor.get("/dashboard/").status_code == 302
    assert "waiting since" in said("registration")

    settings.EMAIL_URL = "file:///unused"
    with pytest.raises(CommandError):
        said("registration", "--approve", "nobody@example.com")
    assert dora.email not in said("registration", "--approve", dora.email)

    assert keys.authenticate(key) is not None
    visitor.post("/accounts/login/", {"login": dora.email, "password": PASSWORD})
    assert visitor.get("/dashboard/").status_code == 200


def said(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_who_waits_verifies_the_address_first_and_hears_of_the_approval(
    visitor: Client,
    mailing: None,
    settings: Settings,
    django_capture_on_commit_callbacks: object,
) -> None:
    registration.change(Mode.APPROVAL)
    sign_up(visitor)
    link = link_in_the_mail()

    answer = visitor.post(link)

    assert answer.headers["Location"] == "/accounts/waiting/"
    dora = User.objects.get(email="dora@example.com")
    assert EmailAddress.objects.get(user=dora).verified
    assert (dora.is_active, dora.waiting) == (False, True)

    mail.outbox.clear()
    settings.EMAIL_URL = "file:///unused"
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        registration.approve(dora)
        registration.approve(dora)
    (sent,) = mail.outbox
    assert sent.to == ["dora@example.com"]
    assert "/accounts/login/" in str(sent.body)
    assert AuditEntry.objects.filter(action="account.approve").count() == 1


def test_by_invitation_nobody_else_gets_in(visitor: Client) -> None:
    registration.change(Mode.INVITE)

    assert b"By invitation only" in visitor.get("/accounts/signup/").content
    form = {"email": "eve@example.com", "password1": PASSWORD}
    assert b"By invitation only" in visitor.post("/accounts/signup/", form).content
    assert b"/accounts/signup/" not in visitor.get("/").content
    assert b"/accounts/signup/" not in visitor.get("/accounts/login/").content
    assert not User.objects.filter(email="eve@example.com").exists()
    assert visitor.get("/accounts/invitation/guessed").status_code == 404


def test_an_invitation_makes_one_account(visitor: Client, mailing: None) -> None:
    registration.change(Mode.INVITE)
    path = path_of(said("invite", "Dora@example.com").strip())
    late = Client()
    late.get(path)

    page = visitor.get(path, follow=True)
    assert b"Create an account" in page.content
    # The operator has named the address: it needs no second mail.
    assert sign_up(visitor) == "/dashboard/"

    dora = User.objects.get(email="dora@example.com")
    assert EmailAddress.objects.get(user=dora).verified
    assert Account.objects.filter(owner_id=dora.id).exists()
    assert Invitation.objects.get().used_by == dora
    assert Client().get(path).status_code == 404
    form = {"email": "eve@example.com", "password1": PASSWORD}
    assert b"By invitation only" in late.post("/accounts/signup/", form).content
    assert not User.objects.filter(email="eve@example.com").exists()


def test_another_address_than_the_invited_one_is_verified(visitor: Client, mailing: None) -> None:
    registration.change(Mode.INVITE)
    visitor.get(path_of(registration.invite("dora@example.com")))

    sign_up(visitor, "other@example.com")

    assert visitor.get("/dashboard/").status_code == 302
    assert not EmailAddress.objects.get(email="other@example.com").verified


def test_an_invitation_expires(visitor: Client) -> None:
    registration.change(Mode.INVITE)
    path = path_of(registration.invite("dora@example.com", timedelta(days=1)))
    visitor.get(path)
    Invitation.objects.update(expires_at=timezone.now())

    assert b"can't be used" in visitor.get(path).content.replace(b"&#x27;", b"'")
    assert b"By invitation only" in visitor.get("/accounts/signup/").content


def test_an_invitation_needs_no_approval(visitor: Client) -> None:
    registration.change(Mode.APPROVAL)
    visitor.get(path_of(registration.invite("dora@example.com")))

    assert sign_up(visitor) == "/dashboard/"
    assert User.objects.get(email="dora@example.com").is_active


def test_nothing_that_opens_is_in_the_tables(db: None) -> None:
    token = registration.invite("dora@example.com").rpartition("/")[2]

    assert token not in str(Invitation.objects.values())
    assert token not in str(AuditEntry.objects.values())
