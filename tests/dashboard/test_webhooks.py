"""Webhooks on their page: endpoints, secrets, deliveries."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from modelpilot.accounts.models import AuditEntry, User
from modelpilot.dashboard import webhooks as page_of
from modelpilot.jobs import webhooks
from modelpilot.jobs.models import WebhookDelivery, WebhookEndpoint
from tests.dashboard.conftest import SignedIn
from tests.dashboard.jobs import ended

PATH = "/dashboard/webhooks/"
URL = "https://example.com/hook"
SECRET = re.compile(r"whsec_[0-9A-Za-z+/=]{40,}")


def shown(client: Client, **query: Any) -> str:
    return client.get(PATH, query).content.decode()


def test_an_endpoint_is_added_and_its_secret_shown_once(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    answer = client.post(PATH, {"url": URL})
    endpoint = WebhookEndpoint.objects.get()

    assert endpoint.owner == alice
    assert endpoint.secret in answer.content.decode()
    assert URL in shown(client)
    assert not SECRET.search(shown(client))
    entry = AuditEntry.objects.get(action="webhook.create")
    assert entry.actor == alice.email
    assert URL not in entry.subject


@pytest.mark.parametrize("url", ["", "http://example.com/", "https://127.0.0.1/", "x" * 3000])
def test_a_url_that_is_not_called_is_not_added(signed_in: SignedIn, alice: User, url: str) -> None:
    answer = signed_in(alice).post(PATH, {"url": url})

    assert b'class="errorlist"' in answer.content
    assert not WebhookEndpoint.objects.exists()


def test_there_are_ten_at_most(signed_in: SignedIn, alice: User) -> None:
    for _ in range(webhooks.MOST):
        webhooks.create(alice.id, URL)
    answer = signed_in(alice).post(PATH, {"url": URL})

    assert "10 webhooks already" in answer.content.decode()
    assert WebhookEndpoint.objects.count() == webhooks.MOST


def test_an_endpoint_is_disabled_enabled_rotated_and_deleted(
    signed_in: SignedIn, alice: User
) -> None:
    client = signed_in(alice)
    endpoint = webhooks.create(alice.id, URL)
    path = f"{PATH}{endpoint.id}"

    client.post(path, {"act": "disable"})
    assert "disabled" in shown(client)
    client.post(path, {"act": "enable"})
    endpoint.refresh_from_db()
    assert endpoint.enabled
    answer = client.post(path, {"act": "rotate"})
    before, endpoint = endpoint.secret, WebhookEndpoint.objects.get()
    assert endpoint.secret != before == endpoint.previous_secret
    assert endpoint.secret in answer.content.decode()
    client.post(path, {"act": "delete"})
    assert URL not in shown(client)
    acts = AuditEntry.objects.filter(action__startswith="webhook.").order_by("id")
    assert [entry.action.partition(".")[2] for entry in acts] == [
        "create",
        "disable",
        "enable",
        "rotate",
        "delete",
    ]


def test_the_secret_of_requests_is_shown_when_asked(signed_in: SignedIn, alice: User) -> None:
    client = signed_in(alice)
    first = client.post(f"{PATH}secret").content.decode()
    again = client.post(f"{PATH}secret").content.decode()
    rotated = client.post(f"{PATH}secret", {"act": "rotate"}).content.decode()

    secret = webhooks.signer(alice.id).previous_secret
    assert secret is not None
    assert secret in first
    assert secret in again
    assert secret not in rotated
    assert webhooks.signer(alice.id).secret in rotated


def test_deliveries_are_told_with_each_try_and_sent_again(signed_in: SignedIn, alice: User) -> None:
    webhooks.create(alice.id, URL)
    job = ended(alice)
    delivery = WebhookDelivery.objects.get()
    tried = {"at": "2026-11-24T03:45:00.123+00:00", "status": 500, "error": None, "ms": 12}
    failed = WebhookDelivery.objects.filter(id=delivery.id)
    failed.update(state="failed", attempts=1, last_status=500, log=[tried])
    client = signed_in(alice)

    told = shown(client)
    assert "job.succeeded" in told
    assert f"/dashboard/jobs/{job.id}/" in told
    assert "2026-11-24T03:45:00Z · 500 · 12 ms" in told
    assert "failed" in client.get(f"/dashboard/jobs/{job.id}/").content.decode()

    client.post(f"{PATH}deliveries/{delivery.id}/redeliver")
    delivery.refresh_from_db()
    assert delivery.state == "pending"


def test_what_a_disabled_endpoint_missed_is_not_sent_again(
    signed_in: SignedIn, alice: User
) -> None:
    endpoint = webhooks.create(alice.id, URL)
    ended(alice)
    webhooks.disable(endpoint, "Gone.")
    delivery = WebhookDelivery.objects.get()
    WebhookDelivery.objects.update(state="failed")

    answer = signed_in(alice).post(f"{PATH}deliveries/{delivery.id}/redeliver", follow=True)

    assert "Enable it first" in answer.content.decode()
    assert WebhookDelivery.objects.get().state == "failed"


def test_older_deliveries_are_on_further_pages(
    signed_in: SignedIn, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of, "PAGE", 2)
    webhooks.create(alice.id, URL)
    jobs = [str(ended(alice).id) for _ in range(5)]
    client = signed_in(alice)

    found: list[str] = []
    query: dict[str, str] = {}
    for _ in range(3):
        with CaptureQueriesContext(connection) as queries:
            told = shown(client, **query)
        assert len(queries) <= 12
        found += re.findall(r'href="/dashboard/jobs/([0-9a-f-]{36})/"', told)
        older = re.search(r'\?before=([0-9a-f-]+)"', told)
        query = {"before": older[1]} if older else {}

    assert sorted(found) == sorted(jobs)
    assert query == {}
