"""Every page of the admin: operators see all of it, others nothing, and it is fast."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from billing import ledger
from billing.models import Account, Purchase, Transfer
from billing.money import micros
from modelpilot.accounts import credit, keys, registration
from modelpilot.accounts.models import ApiKey, AuditEntry, User
from modelpilot.dashboard.admin.site import site
from modelpilot.fleet import prices
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.models import Deployment, Node, Pod
from modelpilot.jobs import housekeeping, lease, webhooks
from modelpilot.jobs.models import Job, WebhookDelivery, WebhookEndpoint
from tests.cast import pod_id, submitted
from tests.dashboard.conftest import SignedIn

SECRET = "the prompt that nobody else may read"


@pytest.fixture
def world(alice: User, bob: User) -> None:
    """One row of everything, at least."""
    keys.create(alice, name="hers")
    credit.freeze(alice, reason="looks odd")
    credit.unfreeze(alice)
    Purchase.objects.create(owner=alice, amount=micros("10"))
    credit.make_codes(micros("5"), count=1, uses=1, expires_at=None, note="fair")
    later = timezone.now() + timedelta(days=1)
    prices.change(cards().cards["kokoro"], {"request": 1}, reason="test", starts_at=later)
    registration.invite("dora@example.com")
    webhooks.create(alice.id, "https://example.com/hook")
    node = Node.objects.create(name="basement", devices=[], heartbeat_at=timezone.now())
    deployment = Deployment.objects.create(model="echo")
    Pod.objects.create(deployment=deployment, node=node, memory_mb=1)
    submitted(alice, request={"messages": [{"role": "user", "content": SECRET}]})
    (claim,) = lease.claim("echo", pod_id(), 1)
    error = {"code": "generation_failed", "message": "It broke.", "status": 500}
    lease.finish(claim, Job.State.FAILED, charge=0, error=error)
    assert WebhookDelivery.objects.count() == 1


def url_of(row: Model | type[Model], page: str, *args: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=args)


def every_page() -> list[str]:
    """The front page, and each registered table's list and one of its rows."""
    pages = [reverse("admin:index")]
    for model in site._registry:
        row = model._default_manager.last()
        assert row is not None, model
        pages += [url_of(model, "changelist"), url_of(model, "change", row.pk)]
    return pages


def test_an_operator_sees_everything(signed_in: SignedIn, bob: User, world: None) -> None:
    client = signed_in(bob)
    for page in every_page():
        answer = client.get(page)
        assert answer.status_code == 200, page
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy, "nobody else's scripts, styles or pictures"
        assert "no-store" in answer.headers["Cache-Control"]


def test_a_pod_names_what_it_serves(signed_in: SignedIn, bob: User, world: None) -> None:
    pod = Pod.objects.select_related("deployment").get()
    link = f'href="{url_of(pod.deployment, "change", pod.deployment.pk)}">echo</a>'
    for page in (url_of(Pod, "changelist"), url_of(pod, "change", pod.pk)):
        assert link in signed_in(bob).get(page).content.decode(), page


def test_who_may_deploy_is_no_operator(
    signed_in: SignedIn, visitor: Client, alice: User, world: None
) -> None:
    User.objects.filter(id=alice.id).update(can_deploy=True)
    for page in [*every_page(), "/admin/jsi18n/", "/admin/search/", "/admin/nothing/"]:
        answer = signed_in(alice).get(page)
        assert answer.status_code == 302, page
        assert answer.headers["Location"].startswith("/admin/login/"), page
    answer = visitor.get("/admin/login/?next=/admin/jobs/job/")
    assert answer.headers["Location"] == (
        "/accounts/login/?next=/admin/login/%3Fnext%3D/admin/jobs/job/"
    )


def test_only_the_admin_has_the_looser_policy(signed_in: SignedIn, bob: User) -> None:
    client = signed_in(bob)
    assert "'unsafe-eval'" in client.get("/admin/").headers["Content-Security-Policy"]
    assert "unsafe" not in client.get("/dashboard/").headers["Content-Security-Policy"]


def test_prompts_are_on_the_jobs_own_page_only(signed_in: SignedIn, bob: User, world: None) -> None:
    client = signed_in(bob)
    job = Job.objects.get()
    its_page = url_of(job, "change", job.pk)

    seen = {page for page in every_page() if SECRET in client.get(page).content.decode()}

    assert seen == {its_page}
    assert "It broke." in client.get(its_page).content.decode()


def test_secrets_are_on_no_page(signed_in: SignedIn, bob: User, world: None) -> None:
    client = signed_in(bob)
    secret = WebhookEndpoint.objects.get().secret
    for page in every_page():
        assert secret not in client.get(page).content.decode(), page


@pytest.mark.parametrize("rows", [3, 30])
def test_lists_ask_as_often_for_many_rows(
    signed_in: SignedIn, bob: User, alice: User, world: None, rows: int
) -> None:
    for number in range(rows):
        submitted(alice)
        ledger.grant(alice.id, 1, ref=f"more:{number}", reason="test")
        keys.create(alice, name=f"{number}")
        User.objects.create_user(f"user{number}@example.com")
    client = signed_in(bob)
    for page in every_page():
        with CaptureQueriesContext(connection) as queries:
            assert client.get(page).status_code == 200
        statements = [query["sql"] for query in queries]
        # A row's page asks again for what it shows twice, but never more than that.
        assert len(statements) <= (30 if page.endswith("/change/") else 16), (page, statements)
        counts = [each for each in statements if "COUNT(*)" in each and "LIMIT" not in each]
        assert page.endswith("/change/") or counts == [], page


def test_jobs_are_found_by_id_and_owner(
    signed_in: SignedIn, bob: User, alice: User, charlie: User, world: None
) -> None:
    client = signed_in(bob)
    job = Job.objects.get()
    link = url_of(job, "change", job.pk)

    def found(**query: str) -> bool:
        return link in client.get(url_of(Job, "changelist"), query).content.decode()

    assert found(q=str(job.id))
    assert found(q=f"chatcmpl-{job.id.hex}")
    assert found(q=alice.email)
    assert not found(q=charlie.email)
    assert not found(q="nothing")
    assert found(state="failed")
    assert not found(state="running")


def test_money_is_found(signed_in: SignedIn, bob: User, alice: User, world: None) -> None:
    client = signed_in(bob)
    job = Job.objects.get()
    account = Account.objects.get(owner=alice, code="user")

    def found(model: type[Model], **query: Any) -> int:
        page = client.get(url_of(model, "changelist"), query).context["cl"]
        return len(page.result_list)

    assert found(Transfer, q=str(job.id)) == 2
    assert found(Transfer, account=account.id) == 3
    assert found(Purchase, q=alice.email) == 1
    assert found(Purchase, q=str(Purchase.objects.get().id)) == 1
    assert found(Purchase, q="cs_none") == 0
    assert found(User, q="ali") == 1
    assert found(AuditEntry, q="account.freeze") == 1
    assert found(ApiKey, q=alice.email) == 1
    assert found(WebhookDelivery, q=str(job.id)) == 1


def test_what_is_written_stays(signed_in: SignedIn, bob: User, world: None) -> None:
    """Nothing is deleted anywhere, and the books, prices, jobs and the audit log never change."""
    client = signed_in(bob)
    changeable = {User, Deployment}
    for model in site._registry:
        row = model._default_manager.last()
        assert row is not None
        assert client.get(url_of(model, "delete", row.pk)).status_code == 403, model
        assert client.post(url_of(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        assert client.get(url_of(model, "add")).status_code == 403, model
        if model not in changeable:
            assert client.post(url_of(model, "change", row.pk), {"note": "x"}).status_code == 403
        client.post(
            url_of(model, "changelist"), {"action": "delete_selected", "_selected_action": row.pk}
        )
        assert model._default_manager.filter(pk=row.pk).exists(), model


def test_the_front_page_says_whether_the_books_prove(
    signed_in: SignedIn, bob: User, alice: User, world: None
) -> None:
    client = signed_in(bob)
    assert b"Nobody has looked yet" in client.get("/admin/").content

    housekeeping.reconcile()
    page = client.get("/admin/").content.decode()
    assert "Books proved at" in page
    assert "It broke." in page, "the day's failures"
    assert "account.unfreeze" in page

    Account.objects.filter(owner=alice, code="user").update(credits_posted=1_000_000_000)
    housekeeping.reconcile()
    page = client.get("/admin/").content.decode()
    assert "not proved" in page
    assert "Books proved at" in page, "the last time that they did"


def test_the_front_page_shows_what_is_earned(signed_in: SignedIn, bob: User, alice: User) -> None:
    submitted(alice, price=micros("0.5"))
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=micros("0.5"))

    page = signed_in(bob).get("/admin/")

    assert page.context["total"]["revenue"] == micros("0.5")
    assert "$0.50" in page.content.decode()


def test_from_the_network_operators_need_a_second_factor(
    signed_in: SignedIn, bob: User, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://ai.example.com"
    client = signed_in(bob)
    answer = client.get("/admin/", follow=True)
    assert [path for path, _ in answer.redirect_chain][-1].startswith("/accounts/")
    assert b"Books" not in answer.content


def test_signing_in_leads_back_to_where_one_wanted_to_go(signed_in: SignedIn, bob: User) -> None:
    client = signed_in(bob)

    def target(wanted: str) -> str:
        return client.get("/admin/login/", {"next": wanted}).headers["Location"]

    assert target("/admin/jobs/job/") == "/admin/jobs/job/"
    assert target("https://evil.example/") == "/admin/"
