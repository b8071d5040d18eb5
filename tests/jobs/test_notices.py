"""Mails about money: once, off the request path, and nothing breaks without a mail server."""

from datetime import timedelta
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from pytest_django import Settings

from billing import ledger
from billing.models import LowBalance
from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User
from modelpilot.jobs import budgets, lease, notices
from modelpilot.jobs.budgets import Cap
from modelpilot.jobs.models import Budget, Job
from modelpilot.jobs.submit import submit
from tests.cast import PRICE, at_once, order, pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def post_office(settings: Settings) -> None:
    settings.EMAIL_URL = "smtp://mail.example.com"
    settings.PUBLIC_URL = "https://api.example.com"


class Broken(EmailBackend):
    def send_messages(self, messages: Any) -> int:
        raise SMTPServerDisconnected


def spend(owner: User, amount: int) -> None:
    submitted(owner, price=amount)
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=amount)


def subjects() -> list[str]:
    notices.send()
    return [str(message.subject) for message in mail.outbox]


def test_a_budget_is_told_once_a_period(alice: User) -> None:
    budgets.put(alice.id, "day", Cap(10 * PRICE, soft_percent=80))
    spend(alice, 8 * PRICE - 1)
    assert subjects() == []

    spend(alice, 1)

    once = ["Your daily budget is nearly spent: $0.08 of $0.10"]
    assert subjects() == once
    (told,) = mail.outbox
    assert told.to == ["alice@example.com"]
    assert "$0.08 of $0.10 are spent or held" in told.body
    assert "https://api.example.com/dashboard/billing" in told.body
    spend(alice, PRICE)
    assert subjects() == once

    # A day later the count begins anew, and so does the telling.
    Budget.objects.update(start=Budget.objects.get().start - timedelta(days=1))
    Budget.objects.update(told=Budget.objects.get().start)
    assert subjects() == once
    spend(alice, 9 * PRICE)
    assert subjects() == [*once, "Your daily budget is nearly spent: $0.09 of $0.10"]


def test_a_keys_budget_is_told_with_its_name(alice: User) -> None:
    keys.create(alice, name="ci\r\nBcc: everybody@example.com")
    key = ApiKey.objects.get().id
    budgets.put(alice.id, "month", Cap(10 * PRICE, soft_amount=PRICE), key=key)
    submit(order(alice, key=key))

    (subject,) = subjects()

    assert subject.startswith('The monthly budget of your API key "ci')
    assert mail.outbox[0].bcc == []
    assert "\n" not in subject


def test_one_without_a_soft_limit_is_not_told(alice: User) -> None:
    budgets.put(alice.id, "day", Cap(PRICE))
    submit(order(alice))
    assert subjects() == []


def test_other_terms_may_be_told_again(alice: User) -> None:
    cap = Cap(4 * PRICE, soft_percent=50)
    budgets.put(alice.id, "day", cap)
    spend(alice, 2 * PRICE)
    assert len(subjects()) == 1
    budgets.put(alice.id, "day", cap)
    assert len(subjects()) == 1
    budgets.put(alice.id, "day", Cap(8 * PRICE, soft_percent=50))
    assert len(subjects()) == 1
    spend(alice, 2 * PRICE)
    assert len(subjects()) == 2


def test_a_low_balance_is_told_until_it_has_risen(charlie: User) -> None:
    ledger.grant(charlie.id, 10 * PRICE, ref="first", reason="test")
    budgets.warn_below(charlie.id, 5 * PRICE)
    spend(charlie, 5 * PRICE)
    submit(order(charlie))  # held only
    assert subjects() == []

    spend_waiting()

    assert subjects() == ["Your balance is low: $0.04"]
    assert "less than the $0.05 below which" in mail.outbox[0].body
    spend(charlie, PRICE)
    assert len(subjects()) == 1
    ledger.grant(charlie.id, 3 * PRICE, ref="second", reason="test")
    assert len(subjects()) == 1
    spend(charlie, 2 * PRICE)
    assert subjects()[1:] == ["Your balance is low: $0.04"]
    budgets.warn_below(charlie.id, None)
    assert not LowBalance.objects.exists()


def spend_waiting() -> None:
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=PRICE)


@pytest.fixture
def two_mails_due(alice: User) -> None:
    budgets.put(alice.id, "day", Cap(PRICE, soft_percent=1))
    budgets.warn_below(alice.id, 10**9)
    submit(order(alice))


def test_many_that_look_at_once_send_one(two_mails_due: None) -> None:
    at_once(16, lambda _: notices.send())
    assert len(mail.outbox) == 2


def test_a_server_that_is_away_is_asked_again(two_mails_due: None, settings: Settings) -> None:
    working = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = f"{__name__}.Broken"
    notices.send()
    assert mail.outbox == []

    settings.EMAIL_BACKEND = working

    assert len(subjects()) == 2
    assert len(subjects()) == 2


def test_without_a_server_nothing_is_called_sent(two_mails_due: None, settings: Settings) -> None:
    settings.EMAIL_URL = ""
    assert subjects() == []
    settings.EMAIL_URL = "smtp://mail.example.com"
    assert len(subjects()) == 2


def test_no_request_sends_one(two_mails_due: None) -> None:
    assert mail.outbox == []
