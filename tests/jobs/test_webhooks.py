"""Webhooks: written with the job's end, signed, sent once, and again where that failed."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

import pytest
import standardwebhooks
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from modelpilot.accounts.models import User
from modelpilot.jobs import lease, shown, webhooks
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.models import Job, WebhookDelivery, WebhookEndpoint
from modelpilot.jobs.webhooks import deliver, deliver_some
from tests.cast import PRICE, assert_books_prove, at_once, member, pod_id, submitted
from tests.receiver import Receiver, receiver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hook(settings: Settings) -> Iterator[Receiver]:
    settings.WEBHOOK_HTTP_HOSTS = frozenset({"127.0.0.1"})
    with receiver() as mine:
        yield mine


def ended(owner: User, state: Job.State = Job.State.SUCCEEDED, **fields: Any) -> Job:
    """A job that has just been run."""
    job = submitted(owner, **fields)
    [mine] = lease.claim("echo", pod_id(), 1)
    if state == Job.State.SUCCEEDED:
        assert lease.finish(mine, state, charge=PRICE, result={"choices": [], "usage": {}})
    else:
        error = {"code": "engine_failed", "message": "No.", "status": 500}
        assert lease.finish(mine, state, charge=0, error=error)
    job.refresh_from_db()
    return job


def hurry() -> None:
    """Let the time until the next tries pass."""
    WebhookDelivery.objects.update(next_try_at=timezone.now())


def test_a_job_tells_the_url_of_its_request(alice: User, hook: Receiver) -> None:
    job = ended(alice, webhook=hook.url)

    deliver()

    [message] = hook.received
    payload = message.verified(webhooks.signer(alice.id).secret)
    assert job.finished_at is not None
    assert payload["type"] == "job.succeeded"
    assert payload["timestamp"] == job.finished_at.astimezone(UTC).isoformat().replace(
        "+00:00", "Z"
    )
    assert payload["data"] == shown.ended(job, webhooks.absolute)
    assert message.headers["content-type"] == "application/json"
    assert hook.url not in message.body.decode()
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.last_status) == ("delivered", 1, 200)
    assert [entry["status"] for entry in delivery.log] == [200]


def test_failed_and_cancelled_jobs_are_told_too(alice: User, hook: Receiver) -> None:
    ended(alice, Job.State.FAILED, webhook=hook.url)
    cancel(submitted(alice, webhook=hook.url).id)

    deliver()

    secret = webhooks.signer(alice.id).secret
    payloads = [message.verified(secret) for message in hook.received]
    assert {payload["type"] for payload in payloads} == {"job.failed", "job.cancelled"}
    for payload in payloads:
        assert payload["type"] == f"job.{payload['data']['state']}"
        assert payload["data"]["error"]["message"]
    assert_books_prove()


def test_a_job_without_webhooks_writes_nothing(alice: User) -> None:
    member("dora")
    webhooks.create(member("erin").id, "https://example.com/")

    ended(alice)

    assert not WebhookDelivery.objects.exists()


def test_deliveries_are_written_in_the_transaction_of_the_end(alice: User, hook: Receiver) -> None:
    with transaction.atomic():
        ended(alice, webhook=hook.url)
        assert WebhookDelivery.objects.count() == 1
        transaction.set_rollback(True)

    assert not WebhookDelivery.objects.exists()


def test_a_receiver_that_fails_twice_and_later_is_gone(alice: User, hook: Receiver) -> None:
    endpoint = webhooks.create(alice.id, hook.url)
    hook.answers = [500, 500, 200, 410]

    ended(alice)
    for wait_s in (5, 300):
        deliver()
        deliver()  # nothing is due
        waiting = WebhookDelivery.objects.get()
        assert waiting.state == "pending"
        assert waiting.next_try_at - timezone.now() < timedelta(seconds=wait_s * 1.1)
        assert waiting.next_try_at - timezone.now() > timedelta(seconds=wait_s * 0.9 - 2)
        hurry()
    deliver()

    first = WebhookDelivery.objects.get()
    assert (first.state, first.attempts) == ("delivered", 3)
    assert [entry["status"] for entry in first.log] == [500, 500, 200]
    assert len({message.id for message in hook.received}) == 1
    for message in hook.received:
        message.verified(endpoint.secret)

    job = ended(alice)
    ended(alice)
    WebhookDelivery.objects.exclude(job=job).filter(state="pending").update(
        next_try_at=timezone.now() + timedelta(seconds=60)
    )
    deliver()

    gone = WebhookDelivery.objects.get(job=job)
    assert (gone.state, gone.last_status, len(gone.log)) == ("failed", 410, 1)
    endpoint.refresh_from_db()
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "It answered 410 Gone.")

    ended(alice)  # writes none
    hurry()
    deliver()  # the one that waited is over
    assert len(hook.received) == 4
    states = WebhookDelivery.objects.order_by("created_at").values_list("state", flat=True)
    assert list(states) == ["delivered", "failed", "failed"]


def test_it_is_given_up_after_ten_tries(alice: User, hook: Receiver) -> None:
    hook.answers = [503] * 20
    ended(alice, webhook=hook.url)

    for _ in range(12):
        deliver()
        hurry()

    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.attempts, len(delivery.log)) == ("failed", 10, 10)
    assert len(hook.received) == 10
    assert len({message.id for message in hook.received}) == 1


def test_both_secrets_sign_while_they_overlap(alice: User, hook: Receiver) -> None:
    endpoint = webhooks.create(alice.id, hook.url)
    old = endpoint.secret
    webhooks.rotate(endpoint)
    assert endpoint.secret != old

    ended(alice)
    deliver()
    hook.received[0].verified(old)
    hook.received[0].verified(endpoint.secret)
    assert len(hook.received[0].headers["webhook-signature"].split()) == 2

    WebhookEndpoint.objects.update(previous_until=timezone.now() - timedelta(seconds=1))
    ended(alice)
    deliver()
    hook.received[1].verified(endpoint.secret)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        hook.received[1].verified(old)


def test_a_changed_body_does_not_verify(alice: User, hook: Receiver) -> None:
    ended(alice, webhook=hook.url)
    deliver()

    message = hook.received[0]
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(webhooks.signer(alice.id).secret).verify(
            message.body.replace(b"succeeded", b"cancelled"), message.headers
        )


def test_sending_again_keeps_the_id(alice: User, hook: Receiver) -> None:
    ended(alice, webhook=hook.url)
    deliver()

    webhooks.redeliver(WebhookDelivery.objects.get())
    deliver()

    assert len(hook.received) == 2
    assert len({message.id for message in hook.received}) == 1
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, len(delivery.log)) == ("delivered", 2)


def test_many_workers_send_each_once(alice: User, hook: Receiver) -> None:
    for _ in range(40):
        ended(alice, webhook=hook.url)

    def work(_: int) -> None:
        while deliver_some():
            pass

    assert at_once(8, work) == [None] * 8

    assert len(hook.received) == 40
    assert len({message.id for message in hook.received}) == 40
    assert WebhookDelivery.objects.filter(state="delivered", attempts=1).count() == 40


def test_a_dead_workers_deliveries_are_sent_by_another(alice: User, hook: Receiver) -> None:
    ended(alice, webhook=hook.url)
    assert len(webhooks.claim()) == 1

    deliver()
    assert hook.received == []

    WebhookDelivery.objects.update(lease_until=F("lease_until") - timedelta(seconds=61))
    deliver()
    assert len(hook.received) == 1


def test_a_worker_that_was_thought_dead_changes_nothing(alice: User, hook: Receiver) -> None:
    ended(alice, webhook=hook.url)
    [(delivery_id, old)] = webhooks.claim().items()
    stale = WebhookDelivery.objects.select_related("endpoint", "job").get(id=delivery_id)
    WebhookDelivery.objects.update(lease_until=F("lease_until") - timedelta(seconds=61))
    deliver()

    webhooks.record(stale, old, webhooks.Try(timezone.now(), 500, None, 1))

    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.last_status, len(delivery.log)) == ("delivered", 200, 1)


def test_an_account_with_many_holds_up_nobody(alice: User, charlie: User, hook: Receiver) -> None:
    for _ in range(30):
        ended(alice, webhook=hook.url)
    ended(charlie, webhook=hook.url, price=0)

    claimed = WebhookDelivery.objects.filter(id__in=webhooks.claim())

    owners = list(claimed.values_list("owner", flat=True))
    assert owners.count(alice.id) == webhooks.OF_ONE_ACCOUNT
    assert owners.count(charlie.id) == 1


def test_a_delivery_that_cant_be_written_holds_up_no_other(
    alice: User, hook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ended(alice, webhook=hook.url)
    Job.objects.filter(id=broken.id).update(error={"nothing": "known"})
    ended(alice, webhook=hook.url)

    deliver()

    assert len(hook.received) == 1
    assert WebhookDelivery.objects.get(job=broken).last_error == "The message can't be written."
    assert "can't be written" in caplog.text


def test_a_url_that_leads_inside_is_never_called(
    alice: User, hook: Receiver, settings: Settings
) -> None:
    """It was accepted once, but the operator has taken the host off the list."""
    ended(alice, webhook=hook.url)
    ended(alice, webhook=f"https://127.0.0.1:{hook.port}/")
    settings.WEBHOOK_HTTP_HOSTS = frozenset()

    deliver()

    assert hook.received == []
    errors = {delivery.last_error for delivery in WebhookDelivery.objects.all()}
    assert errors == {
        "The URL must start with https://.",
        "The URL leads to an address that is not on the public internet.",
    }
