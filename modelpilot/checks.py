"""What must be right before anything starts; each finding has an id and says what to do.

`manage.py` looks before each command, and the web process at its start. Settings that can't be
read at all are refused by settings.py itself.
"""

from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as Caution
from django.core.management.base import SystemCheckError

SECRET_LENGTH = 32


def refuse() -> None:
    """Raise SystemCheckError where a check of ours finds an error."""
    errors = [message for check in CHECKS for message in check() if message.level >= 40]
    if errors:
        raise SystemCheckError("\n".join(f"{error.id}: {error}" for error in errors))


@register
def check_secret(**_: Any) -> list[CheckMessage]:
    if not settings.PRODUCTION or settings.IS_POD:
        return []
    if not settings.SECRET_KEY_IS_GIVEN:
        return [
            Error(
                "MODELPILOT_PUBLIC_URL is https, which means production, and there is no "
                "MODELPILOT_SECRET_KEY.",
                hint="Set it, or MODELPILOT_SECRET_KEY_FILE, to what `openssl rand -base64 48` "
                "prints; or to the content of the data directory's file secret-key, if keys "
                "were made already.",
                id="modelpilot.E001",
            )
        ]
    if len(settings.SECRET_KEY) < SECRET_LENGTH:
        return [
            Error(
                f"MODELPILOT_SECRET_KEY has {len(settings.SECRET_KEY)} characters.",
                hint=f"It needs {SECRET_LENGTH}: `openssl rand -base64 48` prints one.",
                id="modelpilot.E002",
            )
        ]
    if is_example(settings.SECRET_KEY):
        return [
            Error(
                "MODELPILOT_SECRET_KEY is no secret: it repeats itself, or is somebody's example.",
                hint="`openssl rand -base64 48` prints one.",
                id="modelpilot.E007",
            )
        ]
    return []


# Random text has twenty different characters or more, and none of these words.
EXAMPLES = ("insecure", "changeme", "change-me", "change_me", "example", "secret", "password")


def is_example(secret: str) -> bool:
    return len(set(secret)) < 10 or any(word in secret.lower() for word in EXAMPLES)


@register
def check_public_url(**_: Any) -> list[CheckMessage]:
    if not settings.PUBLIC_URL:
        return []
    url = urlsplit(settings.PUBLIC_URL)
    if url.scheme not in ("http", "https") or not url.hostname or url.path or url.query:
        return [
            Error(
                f"MODELPILOT_PUBLIC_URL is no address of a server: {settings.PUBLIC_URL!r}.",
                hint="Write it like https://api.example.com, without a path.",
                id="modelpilot.E003",
            )
        ]
    if url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1"):
        return [
            Caution(
                "MODELPILOT_PUBLIC_URL is not https: keys and prompts travel readable.",
                hint="Put a proxy with TLS in front; docs/operations.md shows how.",
                id="modelpilot.W001",
            )
        ]
    return []


@register
def check_proxies(**_: Any) -> list[CheckMessage]:
    if settings.PRODUCTION and not settings.TRUSTED_PROXIES:
        return [
            Caution(
                "TRUSTED_PROXIES is empty, so behind a proxy all clients count as one.",
                hint="List the addresses that your proxy connects from, like 127.0.0.1.",
                id="modelpilot.W002",
            )
        ]
    return []


@register
def check_log_format(**_: Any) -> list[CheckMessage]:
    wanted = settings.LOG_FORMAT
    if wanted in ("", "json", "text"):
        return []
    return [
        Error(
            f"MODELPILOT_LOG_FORMAT is {wanted!r}.",
            hint="It takes json or text.",
            id="modelpilot.E004",
        )
    ]


@register
def check_bucket(**_: Any) -> list[CheckMessage]:
    if not settings.S3_BUCKET or (find_spec("storages") and find_spec("boto3")):
        return []
    return [
        Error(
            "MODELPILOT_S3_BUCKET is set, but django-storages or boto3 is not installed.",
            hint="pip install 'django-storages[s3]'",
            id="modelpilot.E005",
        )
    ]


@register
def check_restored(**_: Any) -> list[CheckMessage]:
    if not settings.RESTORING.exists():
        return []
    return [
        Error(
            f"A restore into {settings.DATA} has not ended: what is there is not whole.",
            hint="Let it end, or run `python manage.py restore FILE` again.",
            id="modelpilot.E006",
        )
    ]


CHECKS = (
    check_secret,
    check_public_url,
    check_proxies,
    check_log_format,
    check_bucket,
    check_restored,
)
