"""API keys: making, checking, limiting, rotating and revoking them.

A key is `mp_live_` + 30 random base62 characters + their CRC32 as 6 more, as GitHub's
tokens are: junk and typing mistakes are refused without asking the database. Looking a
key up costs microseconds, so nothing is cached: a revocation holds everywhere at once.
"""

import hashlib
import hmac
import secrets
import string
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from modelpilot import prepared
from modelpilot.accounts import audit
from modelpilot.accounts.models import ApiKey, Permission, User

PREFIX = "mp_live_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
# How long the key of before works after a rotation, unless somebody says otherwise.
OVERLAP = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, and what they may do."""

    user_id: int
    key_id: int | None
    permissions: frozenset[str]
    models: frozenset[str] | None
    can_deploy: bool
    email: str
    requests_per_minute: int | None = None
    concurrency: int | None = None

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


class Bounds(TypedDict, total=False):
    """What a key may do at most; None is no bound of the key's own."""

    allowed_models: list[str] | None
    requests_per_minute: int | None
    concurrency: int | None
    expires_at: datetime | None


def create(
    user: User,
    *,
    name: str = "default",
    permissions: list[str] | None = None,
    **bounds: Unpack[Bounds],
) -> str:
    """Make a key and return it; this is the only time that it can be seen."""
    key = new_key()
    with transaction.atomic():
        made = ApiKey.objects.create(
            user=user,
            name=name,
            digest=digest(key),
            last_four=key[-4:],
            permissions=list(Permission) if permissions is None else permissions,
            **bounds,
        )
        audit.record("key.create", about(made), permissions=made.permissions, **written(bounds))
    return key


def about(key: ApiKey) -> str:
    """How the audit log calls a key."""
    return f"key {key.id} of {key.user.email}"


def written(bounds: Bounds) -> dict[str, Any]:
    """Bounds as JSON."""
    expiry = bounds.get("expires_at")
    return {**bounds, "expires_at": expiry.isoformat()} if expiry else dict(bounds)


def new_key() -> str:
    secret = "".join(secrets.choice(ALPHABET) for _ in range(30))
    return PREFIX + secret + checksum(secret)


def checksum(secret: str) -> str:
    """CRC32 of the random part in six base62 digits."""
    number = zlib.crc32(secret.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits


def well_formed(key: str) -> bool:
    secret, check = key[len(PREFIX) : -6], key[-6:]
    return (
        len(key) == len(PREFIX) + 36
        and key.startswith(PREFIX)
        and key.isascii()
        and checksum(secret) == check
    )


def digest(key: str) -> bytes:
    """What is stored of a key: without the pepper a stolen table opens nothing."""
    pepper = hmac.digest(settings.SECRET_KEY.encode(), b"modelpilot api keys", hashlib.sha256)
    return hmac.digest(pepper, key.encode(), hashlib.sha256)


def authenticate(key: str) -> Principal | None:
    """The principal of a live key of an active user, else None. One statement."""
    if not well_formed(key):
        return None
    rows = prepared.run(AUTHENTICATE, {"digest": digest(key)})
    if not rows:
        return None
    key_id, user_id, permissions, models, can_deploy, email, rate, concurrency, unused = rows[0]
    if unused:
        prepared.run(MARK_USED, {"id": key_id})
    return Principal(
        user_id,
        key_id,
        frozenset(permissions),
        None if models is None else frozenset(models),
        can_deploy,
        email,
        rate,
        concurrency,
    )


AUTHENTICATE = """
SELECT key.id, key.user_id, key.permissions, key.allowed_models,
       owner.is_staff OR owner.can_deploy, owner.email, key.requests_per_minute, key.concurrency,
       key.last_used_at IS NULL OR key.last_used_at < now() - interval '1 minute'
FROM accounts_apikey key JOIN accounts_user owner ON owner.id = key.user_id
WHERE (key.digest = %(digest)s::bytea
       OR key.previous_digest = %(digest)s::bytea AND key.previous_until > now())
  AND owner.is_active AND key.revoked_at IS NULL
  AND (key.expires_at IS NULL OR key.expires_at > now())
"""

# At most one write a minute and key; a second writer in that minute changes nothing.
MARK_USED = """
UPDATE accounts_apikey SET last_used_at = now()
WHERE id = %(id)s::bigint AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


def refusal(key: str) -> str:
    """Why `authenticate` refuses a key, as sentences for who holds it."""
    digested = digest(key)
    found = (
        ApiKey.objects.filter(Q(digest=digested) | Q(previous_digest=digested)).first()
        if well_formed(key)
        else None
    )
    reason = "is missing, wrong, expired or revoked"
    if found is not None:
        now = timezone.now()
        if found.revoked_at:
            reason = f"was revoked on {day(found.revoked_at)}"
        elif found.expires_at and found.expires_at <= now:
            reason = f"expired on {day(found.expires_at)}"
        elif bytes(found.digest) != digested and found.previous_until:
            reason = f"was rotated, and worked until {day(found.previous_until)}"
    return (
        f"This API key {reason}. Send a key from your dashboard as 'Authorization: Bearer "
        "mp_live_…'."
    )


def day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d at %H:%M} UTC"


def rotate(key: ApiKey, overlap: timedelta = OVERLAP) -> str:
    """Give the key a new secret and return it, the only time that it can be seen.

    The one of before works for `overlap` more, and the one before that no longer. Name,
    limits and usage stay the key's. Raises ValueError for a revoked key.
    """
    fresh = new_key()
    with transaction.atomic():
        rotated = ApiKey.objects.filter(id=key.id, revoked_at=None).update(
            previous_digest=F("digest"),
            previous_until=TransactionNow() + overlap,
            digest=digest(fresh),
            last_four=fresh[-4:],
        )
        if not rotated:
            raise ValueError(f"Key {key.id} is revoked. Create another.")
        audit.record("key.rotate", about(key), overlap_seconds=overlap.total_seconds())
    return fresh


def limit(key: ApiKey, **bounds: Unpack[Bounds]) -> None:
    """Change the given bounds of the key; they hold for the next request."""
    with transaction.atomic():
        ApiKey.objects.filter(id=key.id).update(**bounds)
        audit.record("key.limit", about(key), **written(bounds))


def revoke(key: ApiKey) -> None:
    """Refuse the key from now on, and the one of before its rotation; a second revocation keeps
    the first time."""
    with transaction.atomic():
        if ApiKey.objects.filter(id=key.id, revoked_at=None).update(revoked_at=timezone.now()):
            audit.record("key.revoke", about(key))
