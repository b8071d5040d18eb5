"""Sign-up, verification, sign-in and reset, as allauth runs them with our settings."""

import re
from datetime import timedelta
from pathlib import Path

import allauth
import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from billing.models import Account
from modelpilot.accounts import first_run, sessions
from modelpilot.accounts.models import AuditEntry, User
from tests.dashboard.conftest import SignedIn

PASSWORD = "correct horse battery"


@pytest.fixture
def mailing(settings: Settings) -> None:
    """As with MODELPILOT_EMAIL_URL."""
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"


def sign_up(client: Client, email: str = "dora@example.com", **headers: str) -> str:
    answer = client.post(
        "/accounts/signup/", {"email": email, "password1": PASSWORD}, headers=headers
    )
    assert answer.status_code == 302, answer.content
    return answer.headers["Location"]


def link_in_the_mail() -> str:
    (sent,) = mail.outbox
    found = re.search(r"http://127\.0\.0\.1:8000(/\S+)", str(sent.body))
    assert found is not None, sent.body
    return found[1]


def test_without_mail_a_sign_up_leads_to_the_dashboard(visitor: Client) -> None:
    assert sign_up(visitor) == "/dashboard/"

    assert visitor.get("/dashboard/").status_code == 200
    user = User.objects.get(email="dora@example.com")
    assert Account.objects.filter(owner_id=user.id).exists()
    assert not user.is_staff
    assert not user.can_deploy


def test_with_mail_the_address_is_verified_first(visitor: Client, mailing: None) -> None:
    sign_up(visitor)
    assert visitor.get("/dashboard/").status_code == 302

    link = link_in_the_mail()
    assert b"dora@example.com" in visitor.get(link).content
    visitor.post(link)
    visitor.post("/accounts/login/", {"login": "dora@example.com", "password": PASSWORD})

    assert visitor.get("/dashboard/").status_code == 200


def test_links_in_mails_are_ours_whatever_host_was_asked(
    visitor: Client, mailing: None, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    sign_up(visitor, Host="evil.example")

    assert "evil" not in str(mail.outbox[0].message())
    link_in_the_mail()


def test_a_password_is_reset_by_mail(visitor: Client, mailing: None) -> None:
    User.objects.create_user("dora@example.com", PASSWORD)
    visitor.post("/accounts/password/reset/", {"email": "dora@example.com"})

    form = visitor.get(link_in_the_mail(), follow=True)
    path = form.redirect_chain[-1][0]
    new = {"password1": "another horse battery", "password2": "another horse battery"}
    assert visitor.post(path, new).status_code == 302

    assert User.objects.get(email="dora@example.com").check_password("another horse battery")


def test_a_stranger_learns_nothing_about_who_has_an_account(
    visitor: Client, mailing: None, alice: User
) -> None:
    known = visitor.post("/accounts/signup/", {"email": alice.email, "password1": PASSWORD})
    unknown = Client().post(
        "/accounts/signup/", {"email": "nobody@example.com", "password1": PASSWORD}
    )

    assert known.headers["Location"] == unknown.headers["Location"]
    assert User.objects.get(email=alice.email).has_usable_password() is False
    # Who has the account hears of it, in the mail that only they can read.
    assert [(sent.to, sent.subject) for sent in mail.outbox] == [
        ([alice.email], "You have an account already"),
        (["nobody@example.com"], "Confirm your address"),
    ]


def test_wrong_passwords_are_counted(visitor: Client) -> None:
    User.objects.create_user("dora@example.com", PASSWORD)
    wrong = {"login": "dora@example.com", "password": "wrong"}
    answers = [visitor.post("/accounts/login/", wrong) for _ in range(11)]

    assert b"Too many failed login attempts" in answers[-1].content
    right = visitor.post("/accounts/login/", {**wrong, "password": PASSWORD})
    assert right.status_code == 200, "who guesses must wait, also with the right one"


def test_what_a_page_changes_is_its_users_act(signed_in: SignedIn, bob: User) -> None:
    welcome = first_run.first_run()
    assert welcome is None, "bob is the operator"
    # The set-up link is open to who has it, signed in or not.
    operator = User.objects.create_superuser(first_run.EMAIL)
    link = first_run.setup_url(operator).partition("8000")[2]
    form = {"email": "olga@example.com", "password": PASSWORD}

    signed_in(bob).post(link, form, REMOTE_ADDR="192.0.2.7")

    entry = AuditEntry.objects.get(action="account.setup")
    assert (entry.actor, entry.address) == ("bob@example.com", "192.0.2.7")


def acts(**of: object) -> list[str]:
    return list(AuditEntry.objects.filter(**of).order_by("id").values_list("action", flat=True))


def test_who_comes_and_goes_is_written_down(visitor: Client) -> None:
    dora = User.objects.create_user("dora@example.com", PASSWORD)
    form = {"login": "dora@example.com", "password": PASSWORD}
    visitor.post("/accounts/login/", {**form, "password": "wrong"}, REMOTE_ADDR="192.0.2.7")
    visitor.post("/accounts/login/", {"login": "nobody@example.com", "password": "x"})
    visitor.post("/accounts/login/", form, REMOTE_ADDR="192.0.2.7")
    new = {"password1": "another horse battery", "password2": "another horse battery"}
    visitor.post("/accounts/password/change/", {"oldpassword": PASSWORD, **new})
    visitor.post("/accounts/logout/")

    assert acts(subject="dora@example.com") == [
        "account.sign_in_failed",
        "account.sign_in",
        "account.password_changed",
        "account.sign_out",
    ]
    failed = AuditEntry.objects.get(action="account.sign_in_failed", subject=dora.email)
    assert (failed.actor, failed.address) == ("visitor", "192.0.2.7")
    came = AuditEntry.objects.get(action="account.sign_in")
    assert (came.actor_id, came.address) == (dora.id, "192.0.2.7")
    assert acts(subject="no account") == ["account.sign_in_failed"]
    assert not AuditEntry.objects.filter(subject__contains="nobody").exists()


def test_behind_a_unix_socket_nobody_has_an_address(visitor: Client) -> None:
    visitor.post(
        "/accounts/signup/", {"email": "d@example.com", "password1": PASSWORD}, REMOTE_ADDR=""
    )

    assert acts(address=None) == ["account.sign_up", "account.sign_in"]


def test_a_changed_password_is_told_by_mail_in_our_words(visitor: Client, mailing: None) -> None:
    dora = User.objects.create_user("dora@example.com", PASSWORD)
    EmailAddress.objects.create(user=dora, email=dora.email, verified=True, primary=True)
    visitor.post("/accounts/login/", {"login": dora.email, "password": PASSWORD})
    new = {"password1": "another horse battery", "password2": "another horse battery"}
    visitor.post(
        "/accounts/password/change/",
        {"oldpassword": PASSWORD, **new},
        headers={"User-Agent": "<Dora's browser>"},
    )

    (sent,) = mail.outbox
    assert sent.subject == "Your password was changed"
    assert "The password of your account was changed." in str(sent.body)
    assert "By:   <Dora's browser>" in str(sent.body), "a text, not HTML"
    assert "http://127.0.0.1:8000/accounts/password/reset/" in str(sent.body)


def test_while_the_mail_server_is_away_the_page_says_so(
    visitor: Client, mailing: None, settings: Settings
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 1, 2

    sign_up(visitor)
    page = visitor.get("/accounts/confirm-email/").content

    assert b"Our mail server does not answer" in page
    assert User.objects.filter(email="dora@example.com").exists()


@pytest.mark.parametrize("folder", ["account", "mfa", "socialaccount"])
def test_every_mail_is_a_text_of_ours(folder: str) -> None:
    ours = {path.name for path in Path("templates", folder, "email").iterdir()}
    theirs = Path(allauth.__file__).parent / "templates" / folder / "email"
    never_sent = re.compile(r"login_code|password_reset_code|webauthn")

    assert {path.name for path in theirs.iterdir() if not never_sent.search(path.name)} <= ours
    for name in ours:
        text = Path("templates", folder, "email", name).read_text()
        assert "<" not in text.replace("{%", "")
        assert not name.endswith("_subject.txt") or len(text.splitlines()) == 1


def test_expired_sessions_are_cleared(visitor: Client) -> None:
    dora = User.objects.create_user("dora@example.com", PASSWORD)
    visitor.post("/accounts/login/", {"login": dora.email, "password": PASSWORD})
    sessions.tidy()
    assert (Session.objects.count(), UserSession.objects.count()) == (1, 1)

    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    sessions.tidy()
    assert (Session.objects.count(), UserSession.objects.count()) == (0, 0)
