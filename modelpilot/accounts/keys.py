"""API keys: making, checking and revoking them.

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
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from modelpilot import prepared
from modelpilot.accounts.models import ApiKey, Permission, User

PREFIX = "mp_live_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, and what they may do."""

    user_id: int
    key_id: int | None
    permissions: frozenset[str]
    models: frozenset[str] | None
    can_deploy: bool

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


def create(
    user: User,
    *,
    name: str = "default",
    permissions: list[str] | None = None,
    models: list[str] | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Make a key and return it; this is the only time that it can be seen."""
    secret = "".join(secrets.choice(ALPHABET) for _ in range(30))
    key = PREFIX + secret + checksum(secret)
    ApiKey.objects.create(
        user=user,
        name=name,
        digest=digest(key),
        last_four=key[-4:],
        permissions=list(Permission) if permissions is None else permissions,
        allowed_models=models,
        expires_at=expires_at,
    )
    return key


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
    key_id, user_id, permissions, models, can_deploy, unused_lately = rows[0]
    if unused_lately:
        prepared.run(MARK_USED, {"id": key_id})
    return Principal(
        user_id,
        key_id,
        frozenset(permissions),
        None if models is None else frozenset(models),
        can_deploy,
    )


AUTHENTICATE = """
SELECT key.id, key.user_id, key.permissions, key.allowed_models,
       owner.is_staff OR owner.can_deploy,
       key.last_used_at IS NULL OR key.last_used_at < now() - interval '1 minute'
FROM accounts_apikey key JOIN accounts_user owner ON owner.id = key.user_id
WHERE key.digest = %(digest)s::bytea AND owner.is_active AND key.revoked_at IS NULL
  AND (key.expires_at IS NULL OR key.expires_at > now())
"""

# At most one write a minute and key; a second writer in that minute changes nothing.
MARK_USED = """
UPDATE accounts_apikey SET last_used_at = now()
WHERE id = %(id)s::bigint AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


def revoke(key: ApiKey) -> None:
    """Refuse the key from now on; a second revocation keeps the first time."""
    ApiKey.objects.filter(id=key.id, revoked_at=None).update(revoked_at=timezone.now())
