"""Webhooks: whoever asked for it is told that a job has ended (https://standardwebhooks.com).

The statement that ends a job also writes its deliveries (see `sql.conclude`), so none is
lost; housekeeping sends them here, again and again, so one may come twice. Its `webhook-id`
stays the same.
"""

import base64
import hmac
import json
import logging
import random
import secrets
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from modelpilot.accounts import audit
from modelpilot.errors import ApiError
from modelpilot.jobs import outbound, shown, sql
from modelpilot.jobs.models import WebhookDelivery, WebhookEndpoint, WebhookSecret, WebhookSigner

log = logging.getLogger(__name__)

# Standard Webhooks' own: the first try at once, nine more over three days.
DELAYS_S = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
OVERLAP = timedelta(hours=24)
KEPT_TRIES = 30
# Endpoints of an account.
MOST = 10
GONE = 410

# Longer than a try can last (`outbound.TIMEOUT_S`, and what the resolver takes).
LEASE_S = 60
AT_ONCE = 16
OF_ONE_ACCOUNT = 4
ROUND_S = 10.0
one_round = threading.Lock()


# Secrets


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def signer(owner: int) -> WebhookSigner:
    """The account's own secret, made on first use."""
    return WebhookSigner.objects.get_or_create(owner_id=owner, defaults={"secret": new_secret()})[0]


def rotate(holder: WebhookEndpoint | WebhookSigner) -> None:
    """A new secret; the old one also signs for a day."""
    holder.previous_secret = holder.secret
    holder.previous_until = timezone.now() + OVERLAP
    holder.secret = new_secret()
    with transaction.atomic():
        holder.save(update_fields=["secret", "previous_secret", "previous_until"])
        whose = about(holder) if isinstance(holder, WebhookEndpoint) else str(holder)
        audit.record("webhook.rotate", whose)


def signatures(holder: WebhookSecret, message: bytes) -> str:
    """The signature of each valid secret, the newest first."""
    valid = [holder.secret]
    if holder.previous_secret and holder.previous_until and holder.previous_until > timezone.now():
        valid.append(holder.previous_secret)
    return " ".join(sign(secret, message) for secret in valid)


def sign(secret: str, message: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, message, sha256)).decode()


# Sending


@dataclass(frozen=True, slots=True)
class Try:
    """How one try went; `status` is None where nobody answered."""

    at: datetime
    status: int | None
    error: str | None
    ms: int

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def deliver() -> None:
    """Send what is due, for some seconds; any number of processes may do it at once.

    One thread of each: the others are for work that nobody's slow receiver may hold up.
    """
    if not one_round.acquire(blocking=False):
        return
    try:
        end = time.monotonic() + ROUND_S
        while time.monotonic() < end and deliver_some():
            pass
    finally:
        one_round.release()


def deliver_some() -> bool:
    """Send a handful side by side; whether there was any. Only this thread asks the database."""
    leases = claim()
    due = WebhookDelivery.objects.select_related("endpoint", "job").filter(id__in=leases)
    sendable = [delivery for delivery in due if not refused(delivery)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        tries = list(threads.map(send, [compose(delivery) for delivery in sendable]))
    for delivery, result in zip(sendable, tries, strict=True):
        record(delivery, leases[delivery.id], result)
    return bool(leases)


def claim() -> dict[uuid.UUID, datetime]:
    """The deliveries that are ours to send until the returned moments."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.CLAIM_WEBHOOKS, {"lease_s": LEASE_S, "each": OF_ONE_ACCOUNT, "limit": AT_ONCE}
        )
        return dict(cursor.fetchall())


def refused(delivery: WebhookDelivery) -> bool:
    """Whether its endpoint wants nothing any more; it is over then."""
    if delivery.endpoint is None or delivery.endpoint.enabled:
        return False
    WebhookDelivery.objects.filter(id=delivery.id).update(
        state=WebhookDelivery.State.FAILED,
        lease_until=None,
        last_error="The endpoint is disabled or deleted.",
    )
    return True


@dataclass(frozen=True, slots=True)
class Message:
    url: str
    headers: list[tuple[bytes | str, bytes | str]]
    body: bytes


def compose(delivery: WebhookDelivery) -> Message | None:
    """The message, or None where something of ours is broken: the others are sent anyway."""
    try:
        return message(delivery)
    except Exception:
        log.exception("Webhook %s can't be written.", message_id(delivery))
        return None


def message(delivery: WebhookDelivery) -> Message:
    """The signed request. The body is made anew for each try, so that its links work."""
    name = message_id(delivery)
    now = int(time.time())
    body = json.dumps(payload(delivery), separators=(",", ":")).encode()
    holder = delivery.endpoint or signer(delivery.owner_id)
    headers: list[tuple[bytes | str, bytes | str]] = [
        ("content-type", "application/json"),
        ("user-agent", "ModelPilot"),
        ("webhook-id", name),
        ("webhook-timestamp", str(now)),
        ("webhook-signature", signatures(holder, f"{name}.{now}.".encode() + body)),
    ]
    return Message(delivery.url, headers, body)


def message_id(delivery: WebhookDelivery) -> str:
    return f"msg_{delivery.id.hex}"


def payload(delivery: WebhookDelivery) -> dict[str, Any]:
    job = delivery.job
    ended = job.finished_at or job.created_at
    return {
        "type": delivery.event,
        "timestamp": ended.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": shown.ended(job, absolute),
    }


def absolute(path: str) -> str:
    return (settings.PUBLIC_URL or f"http://{settings.HOST}:{settings.PORT}") + path


def send(message: Message | None) -> Try:
    at, started = timezone.now(), time.monotonic()
    status, error = attempt(message) if message else (None, "The message can't be written.")
    return Try(at, status, error, round((time.monotonic() - started) * 1000))


def attempt(message: Message) -> tuple[int | None, str | None]:
    """The status of the answer, or why there is none."""
    try:
        return outbound.post(message.url, message.headers, message.body), None
    except outbound.Refused as refusal:
        return None, f"The URL {refusal}."
    except outbound.FAILURES as failure:
        return None, f"No answer: {str(failure) or type(failure).__name__}"[:200]
    except Exception:
        log.exception("A webhook can't be sent.")
        return None, "The message can't be sent."


def record(delivery: WebhookDelivery, lease: datetime, result: Try) -> None:
    """Log a try and decide what follows; nothing where somebody else has taken over."""
    entry = {
        "at": result.at.isoformat(),
        "status": result.status,
        "error": result.error,
        "ms": result.ms,
    }
    changes: dict[str, Any] = {
        "lease_until": None,
        "last_status": result.status,
        "last_error": result.error,
        "log": [*delivery.log, entry][-KEPT_TRIES:],
        **consequence(delivery, result),
    }
    mine = WebhookDelivery.objects.filter(id=delivery.id, lease_until=lease)
    if mine.update(**changes) and result.status == GONE and delivery.endpoint is not None:
        disable(delivery.endpoint, "It answered 410 Gone.")


def consequence(delivery: WebhookDelivery, result: Try) -> dict[str, Any]:
    if result.delivered:
        return {"state": WebhookDelivery.State.DELIVERED}
    if result.status == GONE or delivery.attempts > len(DELAYS_S):
        log.warning("Webhook %s of job %s was given up.", message_id(delivery), delivery.job_id)
        return {"state": WebhookDelivery.State.FAILED}
    # A tenth more or less, so that what has failed together does not come back together.
    delay = DELAYS_S[delivery.attempts - 1] * random.uniform(0.9, 1.1)
    return {"next_try_at": timezone.now() + timedelta(seconds=delay)}


# What owners do


def endpoints(owner: int) -> QuerySet[WebhookEndpoint]:
    return WebhookEndpoint.objects.filter(owner=owner, deleted_at=None).order_by("created_at", "id")


def create(owner: int, url: str) -> WebhookEndpoint:
    """An endpoint at a checked URL; ApiError 409 where there are MOST."""
    if endpoints(owner).count() >= MOST:
        raise ApiError(
            409, "too_many_webhooks", f"You have {MOST} webhooks already. Delete one first."
        )
    with transaction.atomic():
        endpoint = WebhookEndpoint.objects.create(owner_id=owner, url=url, secret=new_secret())
        audit.record("webhook.create", about(endpoint))
    endpoint.refresh_from_db()
    return endpoint


def about(endpoint: WebhookEndpoint) -> str:
    """How the audit log calls an endpoint: its URL may hold a secret."""
    return f"webhook {endpoint.id} of user {endpoint.owner_id}"


def enable(endpoint: WebhookEndpoint) -> None:
    with transaction.atomic():
        WebhookEndpoint.objects.filter(id=endpoint.id).update(enabled=True, disabled_reason=None)
        audit.record("webhook.enable", about(endpoint))


def disable(endpoint: WebhookEndpoint, reason: str) -> None:
    """Tell it nothing any more; what still waits for it fails when it is due."""
    with transaction.atomic():
        enabled = WebhookEndpoint.objects.filter(id=endpoint.id, enabled=True)
        if enabled.update(enabled=False, disabled_reason=reason):
            audit.record("webhook.disable", about(endpoint), reason=reason)


def delete(endpoint: WebhookEndpoint) -> None:
    with transaction.atomic():
        WebhookEndpoint.objects.filter(id=endpoint.id).update(
            enabled=False, deleted_at=timezone.now(), disabled_reason="Deleted."
        )
        audit.record("webhook.delete", about(endpoint))


def deliveries(owner: int) -> QuerySet[WebhookDelivery]:
    """All that was or will be sent, newest first."""
    found = WebhookDelivery.objects.select_related("endpoint").filter(owner=owner)
    return found.order_by("-created_at", "-id")


def before(found: QuerySet[WebhookDelivery], last: WebhookDelivery) -> QuerySet[WebhookDelivery]:
    """Those that come after `last` in that order."""
    return found.filter(
        Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, id__lt=last.id),
        # Again, in words of the index, so that nothing before is read.
        created_at__lte=last.created_at,
    )


def redeliver(delivery: WebhookDelivery) -> None:
    """Send it once more, and with the whole schedule if that fails; ApiError 409 where its
    endpoint wants nothing."""
    if delivery.endpoint is not None and not delivery.endpoint.enabled:
        raise ApiError(
            409, "webhook_disabled", "Its endpoint is disabled or deleted. Enable it first."
        )
    WebhookDelivery.objects.filter(id=delivery.id).update(
        state=WebhookDelivery.State.PENDING, attempts=0, next_try_at=timezone.now()
    )
