"""The operator's account of the first run."""

from django.test import Client

from billing import ledger
from billing.money import micros
from modelpilot.accounts import keys
from modelpilot.accounts.first_run import finish, first_run
from modelpilot.accounts.models import User


def path(url: str) -> str:
    return url[url.index("/setup/") :]


def test_it_makes_an_operator_with_a_key_and_credit(books: None) -> None:
    welcome = first_run()

    assert welcome is not None
    assert welcome.key is not None
    principal = keys.authenticate(welcome.key)
    assert principal is not None
    assert principal.can_deploy
    operator = User.objects.get()
    assert operator.is_staff
    assert not operator.has_usable_password()
    assert ledger.balance(operator.id).available == micros("10")


def test_the_key_is_shown_once_and_the_link_until_it_was_used(books: None) -> None:
    first_run()

    again = first_run()
    assert again is not None
    assert again.key is None
    assert User.objects.count() == 1

    finish(User.objects.get(), "bob@example.com", "correct horse battery")
    assert first_run() is None


def test_an_operator_made_by_command_is_enough(bob: User) -> None:
    assert first_run() is None


def test_the_link_sets_email_and_password_and_signs_in(books: None) -> None:
    welcome = first_run()
    assert welcome is not None
    link, client = path(welcome.setup_url), Client()

    assert b"Give the operator" in client.get(link).content
    short = client.post(link, {"email": "bob@example.com", "password": "123"})
    assert b"too short" in short.content
    done = client.post(link, {"email": "Bob@example.com", "password": "correct horse battery"})

    assert done.headers["Location"] == "/dashboard/"
    assert b"bob@example.com" in client.get("/dashboard/").content
    assert User.objects.get().check_password("correct horse battery")
    assert client.get(link).status_code == 404


def test_a_wrong_link_opens_nothing(books: None) -> None:
    first_run()

    assert Client().get("/setup/MQ:1xVbMn:forged").status_code == 404
