"""What operators do: each act asks first, is done once, and is in the audit log."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from billing import codes, ledger, payments, purchases
from billing.models import Account, PriceChange, Purchase, RedeemCode, Transfer
from billing.money import micros
from billing.prices import in_force
from modelpilot.accounts import keys, registration
from modelpilot.accounts.models import ApiKey, AuditEntry, Invitation, User
from modelpilot.fleet.models import Deployment
from modelpilot.jobs import budgets, lease, webhooks
from modelpilot.jobs.models import Job, WebhookDelivery, WebhookEndpoint
from tests.cast import assert_books_prove, pod_id, submitted
from tests.dashboard.conftest import SignedIn
from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.server import KEY, serving


@pytest.fixture
def operator(signed_in: SignedIn, bob: User) -> Client:
    return signed_in(bob)


@pytest.fixture
def stripe(settings: Settings) -> Iterator[StripeAccount]:
    account = StripeAccount()
    with serving(account) as url:
        settings.STRIPE_SECRET_KEY = KEY
        settings.STRIPE_API_BASE = url
        yield account
    payments.client_for.cache_clear()


def act(client: Client, row: Model | type[Model], name: str, **fields: Any) -> HttpResponse:
    """Press a button on a row's page, or on a table's list, and answer its dialog."""
    opts = row._meta
    args = [row.pk] if isinstance(row, Model) else []
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_{name}", args=args)
    asked = client.get(url)
    assert asked.status_code == 200
    assert b"<form" in asked.content, "it asks"
    answer = client.post(url, {"_form_submitted": "True", **fields})
    assert answer.status_code == 200
    return answer  # type: ignore[return-value]


def said(client: Client) -> str:
    """What the next page tells of it."""
    page = client.get("/admin/")
    return " ".join(str(message) for message in get_messages(page.wsgi_request))


def latest() -> AuditEntry:
    entry = AuditEntry.objects.order_by("-id").first()
    assert entry is not None
    return entry


def assert_audited(action: str, actor: str = "bob@example.com", **detail: Any) -> None:
    entry = latest()
    assert (entry.action, entry.actor) == (action, actor)
    assert detail.items() <= entry.detail.items()


def test_credit_is_granted_with_a_reason(operator: Client, charlie: User) -> None:
    refused = act(operator, charlie, "grant_credit", usd="5")
    assert b"This field is required" in refused.content
    assert ledger.balance(charlie.id).balance == 0

    done = act(operator, charlie, "grant_credit", usd="5.25", reason="for the outage")

    assert done.headers["HX-Redirect"] == reverse("admin:accounts_user_change", args=[charlie.id])
    assert ledger.balance(charlie.id).balance == micros("5.25")
    grant = Transfer.objects.get(code="grant", credit__owner=charlie)
    assert grant.note == "for the outage"
    assert_audited("credit.grant", usd=5.25, reason="for the outage")
    assert_books_prove()


@pytest.mark.parametrize("usd", ["0", "-1", "x", "0.0000001", "1e9"])
def test_no_strange_amount_is_granted(operator: Client, charlie: User, usd: str) -> None:
    act(operator, charlie, "grant_credit", usd=usd, reason="r")

    assert ledger.balance(charlie.id).balance == 0
    assert not AuditEntry.objects.filter(action="credit.grant").exists()


def test_accounts_are_frozen_and_thawed(operator: Client, alice: User) -> None:
    act(operator, alice, "freeze", reason="looks odd")
    assert ledger.balance(alice.id).frozen
    assert_audited("account.freeze", reason="looks odd")
    page = operator.get(reverse("admin:accounts_user_change", args=[alice.id]))
    assert "looks odd" in page.content.decode()

    act(operator, alice, "unfreeze")
    assert not ledger.balance(alice.id).frozen
    assert_audited("account.unfreeze", freezes=1)


def offered(client: Client, row: Model) -> set[str]:
    """The names of the buttons on a row's page, as its addresses have them."""
    opts = row._meta
    page = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[row.pk])
    answer = client.get(page)
    assert answer.status_code == 200
    root = page.removesuffix("change/")
    return set(re.findall(rf'"{root}([a-z-]+)/?"', answer.content.decode())) - {"change"}


def test_a_page_has_the_buttons_that_do_something(operator: Client, alice: User) -> None:
    always = {"grant-credit", "freeze", "budget"}
    assert offered(operator, alice) == always
    act(operator, alice, "freeze", reason="looks odd")
    assert offered(operator, alice) == {*always, "unfreeze"}
    act(operator, alice, "unfreeze")
    ledger.take(alice.id, micros("1000"), Account.Code.STRIPE_CLEARING, code="dispute", ref="x")
    assert offered(operator, alice) == {*always, "write-off"}
    User.objects.filter(id=alice.id).update(waiting=True, is_active=False)
    assert offered(operator, alice) == {*always, "write-off", "approve"}

    keys.create(alice)
    key = ApiKey.objects.get()
    assert offered(operator, key) == {"revoke"}
    act(operator, key, "revoke")
    assert offered(operator, key) == set()


def test_a_debt_is_written_off(operator: Client, charlie: User) -> None:
    act(operator, charlie, "write_off", reason="gone")
    assert "It owes nothing." in said(operator)
    ledger.take(charlie.id, micros("3"), Account.Code.STRIPE_CLEARING, code="dispute", ref="x")
    assert ledger.balance(charlie.id).debt == micros("3")

    act(operator, charlie, "write_off", reason="gone")

    assert ledger.balance(charlie.id).debt == 0
    assert "$3.00 that charlie@example.com owed are written off." in said(operator)
    assert_audited("debt.write_off", usd=3, reason="gone")


def test_roles_are_changed(operator: Client, alice: User, bob: User) -> None:
    url = reverse("admin:accounts_user_change", args=[alice.id])
    operator.post(url, {"is_active": "on", "is_staff": "on", "can_deploy": "on", "email": "evil@x"})

    alice.refresh_from_db()
    assert (alice.is_staff, alice.is_superuser, alice.can_deploy) == (True, True, True)
    assert alice.email == "alice@example.com"
    assert_audited("account.role", is_staff=True, can_deploy=True)

    operator.post(url, {})
    alice.refresh_from_db()
    assert (alice.is_active, alice.is_staff, alice.is_superuser) == (False, False, False)

    operator.post(reverse("admin:accounts_user_change", args=[bob.id]), {})
    bob.refresh_from_db()
    assert bob.is_staff, "nobody shuts themselves out"
    assert bob.is_active


def test_purchases_are_refunded(operator: Client, charlie: User, stripe: StripeAccount) -> None:
    purchase = purchases.checkout(charlie.id, micros("10"), "http://testserver")
    assert purchase.session is not None
    stripe.pay(purchase.session)
    purchases.fulfil(purchase.session)
    assert ledger.balance(charlie.id).balance == micros("15")

    act(operator, purchase, "refund", usd="4", reason="half was unused")
    assert ledger.balance(charlie.id).balance == micros("6"), "the bonus goes first"
    assert_audited("purchase.refund", usd=4, reason="half was unused")

    act(operator, purchase, "refund", usd="6.01", reason="too much")
    assert "At most $6.00" in said(operator)
    act(operator, purchase, "refund", reason="the rest")
    assert ledger.balance(charlie.id).balance == 0
    assert sorted(each["amount"] for each in stripe.all("refund")) == [400, 600]
    page = operator.get(reverse("admin:billing_purchase_change", args=[purchase.id]))
    assert "half was unused" in page.content.decode()
    assert_books_prove()


def test_a_refund_that_stripe_does_not_answer(
    operator: Client, charlie: User, stripe: StripeAccount
) -> None:
    purchase = purchases.checkout(charlie.id, micros("10"), "http://testserver")
    assert purchase.session is not None
    stripe.pay(purchase.session)
    purchases.fulfil(purchase.session)
    stripe.lose_requests = 3

    act(operator, purchase, "refund", reason="all of it")

    assert "does not answer" in said(operator)
    assert_audited("purchase.refund", unanswered=True)


def test_nothing_is_refunded_without_stripe(operator: Client, charlie: User) -> None:
    purchase = Purchase.objects.create(owner=charlie, amount=micros("10"))
    act(operator, purchase, "refund", reason="r")
    assert "no STRIPE_SECRET_KEY" in said(operator)


def test_prices_are_changed_and_cancelled(operator: Client) -> None:
    act(operator, PriceChange, "change_price", model="kokoro", price="0.5", reason="dearer")
    assert in_force()["kokoro"] == {"request": 500_000}
    assert_audited("price.change", price={"request": 500_000}, reason="dearer")
    started = PriceChange.objects.get()
    assert started.created_by is not None

    act(operator, started, "cancel")
    assert "has started" in said(operator)

    act(
        operator, PriceChange, "change_price", model="kokoro", price="", reason="back",
        starts_at="2099-01-01T00:00",
    )  # fmt: skip
    coming = PriceChange.objects.get(price__isnull=True)
    act(operator, coming, "cancel")
    coming.refresh_from_db()
    assert coming.cancelled_at is not None
    assert_audited("price.cancel")


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": "much"},
        {"price": "-1"},
        {"price": "input_tokens=1"},
        {"price": "1", "starts_at": "2020-01-01T00:00"},
        {"price": "1", "model": "no-such-model"},
    ],
)
def test_wrong_prices_are_refused(operator: Client, wrong: dict[str, str]) -> None:
    answer = act(
        operator, PriceChange, "change_price", **{"model": "kokoro", "reason": "r", **wrong}
    )
    assert "HX-Redirect" not in answer.headers
    assert not PriceChange.objects.exists()


def test_redeem_codes_are_made_and_revoked(operator: Client, charlie: User) -> None:
    answer = act(operator, RedeemCode, "make_codes", usd="5", count="2", uses="1", note="fair")

    made = [word for word in answer.content.decode().split() if "MP-" in word]
    assert len(made) == 2
    first = made[0][made[0].index("MP-") :].partition("<")[0]
    assert codes.redeem(charlie.id, first) == micros("5")
    assert_audited("code.create", usd=5, uses=1)

    page = operator.get(reverse("admin:billing_redeemcode_changelist")).content.decode()
    assert first not in page
    other = RedeemCode.objects.get(uses=0)
    act(operator, other, "revoke")
    assert_audited("code.revoke")
    act(operator, other, "revoke")
    assert "revoked already" in said(operator)


def test_keys_are_revoked(operator: Client, alice: User) -> None:
    key = keys.create(alice)
    act(operator, ApiKey.objects.get(), "revoke")
    assert keys.authenticate(key) is None
    assert_audited("key.revoke")


def test_deliveries_are_sent_again(operator: Client, alice: User) -> None:
    endpoint = webhooks.create(alice.id, "https://example.com/hook")
    submitted(alice)
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=0)
    delivery = WebhookDelivery.objects.get()
    WebhookDelivery.objects.filter(id=delivery.id).update(state="failed", attempts=10)

    act(operator, delivery, "redeliver")
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("pending", 0)
    assert AuditEntry.objects.filter(action="webhook.redeliver").exists()

    act(operator, endpoint, "disable")
    assert not WebhookEndpoint.objects.get().enabled
    act(operator, delivery, "redeliver")
    assert "disabled or deleted" in said(operator)
    act(operator, endpoint, "enable")
    assert WebhookEndpoint.objects.get().enabled
    assert_audited("webhook.enable")


def test_jobs_are_cancelled(operator: Client, alice: User) -> None:
    job = submitted(alice)
    act(operator, job, "cancel")
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED
    assert AuditEntry.objects.filter(action="job.cancel", actor="bob@example.com").exists()
    act(operator, job, "cancel")
    assert "cancelled already" in said(operator)
    assert_books_prove()


def test_deployments_are_changed_stopped_and_started(operator: Client) -> None:
    deployment = Deployment.objects.create(model="echo")
    url = reverse("admin:fleet_deployment_change", args=[deployment.id])

    operator.post(url, {"pinned": "on", "replicas": "3", "idle_seconds": ""})
    deployment.refresh_from_db()
    assert (deployment.pinned, deployment.replicas, deployment.idle_seconds) == (True, 3, None)
    assert_audited("deployment.change", pinned=True, replicas=3)
    answer = operator.post(url, {"replicas": "0"})
    assert answer.status_code == 200
    assert b"greater than or equal to 1" in answer.content

    act(operator, deployment, "stop")
    deployment.refresh_from_db()
    assert deployment.desired == "stopped"
    assert_audited("deployment.stop")
    act(operator, deployment, "start")
    assert_audited("deployment.start")


def test_an_act_on_a_row_that_is_gone(operator: Client) -> None:
    url = reverse("admin:accounts_user_freeze", args=[987654])
    answer = operator.post(url, {"_form_submitted": "True", "reason": "r"})
    assert answer.headers["HX-Redirect"] == reverse("admin:accounts_user_changelist")
    assert "not there any more" in said(operator)


def test_who_waits_is_approved(operator: Client, charlie: User) -> None:
    User.objects.filter(id=charlie.id).update(waiting=True, is_active=False)
    url = reverse("admin:accounts_user_change", args=[charlie.id])
    operator.post(url, {"is_active": "on"})
    charlie.refresh_from_db()
    assert charlie.waiting, "by the button alone"
    assert not charlie.is_active

    act(operator, charlie, "approve")
    charlie.refresh_from_db()
    assert (charlie.waiting, charlie.is_active) == (False, True)
    assert_audited("account.approve")
    act(operator, charlie, "approve")
    assert "does not wait" in said(operator)


def test_a_closed_account_stays_closed(operator: Client, charlie: User) -> None:
    User.objects.filter(id=charlie.id).update(closed_at=timezone.now(), is_active=False)
    url = reverse("admin:accounts_user_change", args=[charlie.id])
    operator.post(url, {"is_active": "on", "is_staff": "on"})
    charlie.refresh_from_db()
    assert (charlie.is_active, charlie.is_staff) == (False, False)


def test_registration_and_invitations(operator: Client) -> None:
    act(operator, Invitation, "change_registration", mode="invite")
    assert registration.mode() == "invite"
    assert_audited("registration.change", mode="invite")

    answer = act(operator, Invitation, "invite", email="dora@example.com", days="3")
    link = answer.content.decode().partition("http://127.0.0.1:8000")[2].partition("<")[0].strip()
    assert Client().get(link).status_code in (200, 302)
    assert_audited("invitation.create", days=3)
    token = link.rpartition("/")[2]
    page = operator.get(reverse("admin:accounts_invitation_changelist")).content.decode()
    assert "dora@example.com" in page
    assert token not in page


def test_budgets_are_put_and_ended(operator: Client, alice: User) -> None:
    act(operator, alice, "budget", daily="5", monthly="50.5")
    assert "hold for its next request" in said(operator)
    caps = {each.period: each.cap for each in budgets.of_account(alice.id)}
    assert caps == {"day": micros("5"), "month": micros("50.5")}
    assert_audited("budget.put", period="month")
    page = operator.get(reverse("admin:accounts_user_change", args=[alice.id])).content.decode()
    assert "$0.00 of $50.50 a month" in page

    entries = AuditEntry.objects.count()
    act(operator, alice, "budget", daily="5")
    assert [each.period for each in budgets.of_account(alice.id)] == ["day"]
    assert AuditEntry.objects.count() == entries + 1, "what stays is not written down"


def test_what_holds_for_everybody_is_on_the_front_page(
    operator: Client, settings: Settings
) -> None:
    settings.RATE_LIMIT = (7, 60)
    page = operator.get("/admin/").content.decode()
    assert "7 a minute" in page
    assert "MODELPILOT_RATE_LIMIT" in page
    assert registration.mode().label in page
