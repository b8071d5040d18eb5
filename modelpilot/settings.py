"""Settings, and the only place that reads the environment.

A fresh clone runs with none of these set. Every secret may also come from a file
named by `NAME_FILE` (Docker and systemd hand secrets over that way).
"""

import ipaddress
import os
import secrets
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from modelpilot import embedded

BASE_DIR = Path(__file__).resolve().parent.parent


def env(name: str, default: str = "") -> str:
    """The variable `name`, or the content of the file that `NAME_FILE` names, or `default`."""
    value = os.environ.get(name)
    if value is not None:
        return value
    file = os.environ.get(f"{name}_FILE")
    if file:
        return Path(file).read_text().strip()
    return default


def env_int(name: str, default: int) -> int:
    value = env(name)
    try:
        return int(value) if value else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from None


def env_list(name: str) -> list[str]:
    return [item.strip() for item in env(name).split(",") if item.strip()]


def networks(name: str) -> list[str]:
    """Addresses and networks, each as a network: `10.0.0.0/8`, `127.0.0.1/32`."""
    found = []
    for item in env_list(name):
        try:
            found.append(str(ipaddress.ip_network(item, strict=False)))
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} takes addresses and networks like 10.0.0.0/8, separated by commas; "
                f"{item!r} is neither."
            ) from None
    return found


def rate(name: str, default: str) -> tuple[int, int]:
    """`"100/minute"` as (requests, seconds)."""
    value = env(name, default)
    periods = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
    count, _, period = value.partition("/")
    if not count.isdigit() or int(count) < 1 or period not in periods:
        raise ImproperlyConfigured(
            f"{name} must look like 100/minute (or /second, /hour, /day), not {value!r}."
        )
    return int(count), periods[period]


def kept_secret(path: Path) -> str:
    """The secret in `path`, made on first use and readable by its owner only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            # A link refuses to replace, so two first starts agree on one secret.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text().strip()


DATA = Path(env("MODELPILOT_DATA", str(BASE_DIR / "data"))).resolve()
HOST = env("MODELPILOT_HOST", "127.0.0.1")
PORT = env_int("MODELPILOT_PORT", 8000)
# The address that clients use, for absolute URLs; https here means production.
PUBLIC_URL = env("MODELPILOT_PUBLIC_URL").rstrip("/")
PRODUCTION = PUBLIC_URL.startswith("https://")
TRUSTED_PROXIES = networks("TRUSTED_PROXIES")
# Webhooks may go to these hosts by http, and to private addresses.
WEBHOOK_HTTP_HOSTS = frozenset(host.lower() for host in env_list("MODELPILOT_WEBHOOK_HTTP_HOSTS"))

# Requests per period and client IP: for calls, and for polling routes.
RATE_LIMIT = rate("MODELPILOT_RATE_LIMIT", "100/minute")
POLL_RATE_LIMIT = rate("MODELPILOT_POLL_RATE_LIMIT", "600/minute")
BODY_LIMIT = 10 * 1024 * 1024
BODY_TIMEOUT_S = 15.0
# The gate has counted already; Django's own limit is lower, and an error that nobody expects.
DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_LIMIT

# A pod runs other people's weights: it gets none of the secrets (see fleet/node.py).
IS_POD = env("MODELPILOT_ROLE") == "pod"
# In production nothing works without one: see checks.py.
SECRET_KEY_IS_GIVEN = bool(env("MODELPILOT_SECRET_KEY"))
SECRET_KEY = env("MODELPILOT_SECRET_KEY") or (
    secrets.token_urlsafe(48) if IS_POD else kept_secret(DATA / "secret-key")
)

# More cards, beside inference/catalog.toml: adding a model is adding a card.
CATALOGS = [Path(item).resolve() for item in env_list("MODELPILOT_CATALOG")] + [
    path for path in [DATA / "catalog.toml"] if path.exists()
]
# The folder that `file:` weights are relative to.
MODELS = DATA / "models"
# Downloaded and assembled weights; safe to delete.
CACHE = DATA / "cache"
# This machine, for the fleet; a new name is a new node.
NODE = env("MODELPILOT_NODE") or os.uname().nodename
# Memory that pods may use together, in MB; 0 means three quarters of the machine's.
NODE_MEMORY_MB = env_int("MODELPILOT_NODE_MEMORY_MB", 0)
# The GPUs that pods may have; set to nothing, none.
VISIBLE_GPUS = env("CUDA_VISIBLE_DEVICES", "all")

# Buying credit: off without a secret key; its webhook is closed without a secret of its own.
STRIPE_SECRET_KEY = env("STRIPE_SECRET_KEY")
# The one in use and, while it is being changed, the one before.
STRIPE_WEBHOOK_SECRETS = [
    secret
    for secret in (env("STRIPE_WEBHOOK_SECRET"), env("STRIPE_WEBHOOK_SECRET_PREVIOUS"))
    if secret
]
# Another address than Stripe's own: the tests' stand-in.
STRIPE_API_BASE = env("STRIPE_API_BASE")

# Mails go out by SMTP; without a host none are sent, and nothing else minds.
EMAIL_HOST = env("EMAIL_HOST")
EMAIL_USE_SSL = env_int("EMAIL_USE_SSL", 0) == 1
EMAIL_USE_TLS = env_int("EMAIL_USE_TLS", 0 if EMAIL_USE_SSL else 1) == 1
EMAIL_PORT = env_int("EMAIL_PORT", 465 if EMAIL_USE_SSL else 587)
EMAIL_HOST_USER = env("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env("EMAIL_HOST_PASSWORD")
EMAIL_TIMEOUT = 15
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'dummy'}.EmailBackend"
DEFAULT_FROM_EMAIL = env("EMAIL_FROM") or f"modelpilot@{urlsplit(PUBLIC_URL).hostname or HOST}"

# Jobs: how long a pod owns a claimed job without renewing it, and how often it is tried.
LEASE_S = 30
MAX_ATTEMPTS = 3
# Jobs that an account may have queued and running at once.
JOBS_PER_ACCOUNT = env_int("MODELPILOT_JOBS_PER_ACCOUNT", 10_000)
IDLE_SECONDS = env_int("MODELPILOT_IDLE_SECONDS", 300)

DATABASE_URL = env("DATABASE_URL")
REDIS_URL = env("REDIS_URL")
EMBEDDED_POSTGRES = not DATABASE_URL
EMBEDDED_VALKEY = not REDIS_URL
DATABASE_URL = DATABASE_URL or embedded.database_url(DATA)
REDIS_URL = REDIS_URL or embedded.redis_url(DATA)

# What the processes that we start are given, so that they all mean the same servers.
CHILD_ENVIRONMENT = {
    **os.environ,
    "DJANGO_SETTINGS_MODULE": "modelpilot.settings",
    "MODELPILOT_DATA": str(DATA),
    "DATABASE_URL": DATABASE_URL,
    "REDIS_URL": REDIS_URL,
}
STRIPE_NAMES = (
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "STRIPE_WEBHOOK_SECRET_PREVIOUS",
    "STRIPE_API_BASE",
)


def without(environment: dict[str, str], *names: str) -> dict[str, str]:
    """An environment in which these variables, also as files, are not set."""
    return {
        name: value
        for name, value in environment.items()
        if name.removesuffix("_FILE") not in names
    }


# The node starts pods, takes no money and writes no mails.
NODE_ENVIRONMENT = without(
    CHILD_ENVIRONMENT, *STRIPE_NAMES, "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD"
)
POD_ENVIRONMENT = without(NODE_ENVIRONMENT, "MODELPILOT_SECRET_KEY") | {
    "MODELPILOT_ROLE": "pod",
    # OpenMP's threads that spin while they wait take the cores from everyone: eight pictures
    # beside a busy neighbour took 16 s with it, and 1.6 s without.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def database(url: str) -> dict[str, object]:
    """Django's DATABASES entry for a `postgresql://user:password@host:port/name?option=…` URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ImproperlyConfigured("DATABASE_URL must start with postgresql://.")
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        # A unix socket's folder travels as ?host=.
        "HOST": options.pop("host", "") or unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0,
        # A connection is checked when it leaves the pool: PostgreSQL may have restarted.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **options,
            "pool": {"min_size": 1, "max_size": 8, "timeout": 10},
            "connect_timeout": 5,
            # Lets modelpilot.prepared prepare; Django itself never does.
            "prepare_threshold": 5,
        },
    }


DATABASES = {"default": database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DEBUG = False
ALLOWED_HOSTS = [urlsplit(PUBLIC_URL).hostname or "*"] if PUBLIC_URL else ["*"]
ROOT_URLCONF = "modelpilot.urls"
ASGI_APPLICATION = "modelpilot.asgi.application"
AUTH_USER_MODEL = "accounts.User"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "ninja",
    "modelpilot",
    "billing",
    "modelpilot.accounts",
    "modelpilot.jobs",
    "modelpilot.fleet",
]
MIDDLEWARE: list[str] = ["modelpilot.api.envelope.envelope"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
STATIC_URL = "/static/"
# Behind https only: cookies of this host alone, and browsers that come back encrypted.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_NAME = "__Host-session" if PRODUCTION else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrf" if PRODUCTION else "csrftoken"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PRODUCTION else []
# Sent by the gate with every answer.
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

STORAGES: dict[str, dict[str, object]] = {
    "default": {
        "BACKEND": "modelpilot.jobs.storage.DurableFileSystemStorage",
        "OPTIONS": {"location": DATA / "outputs"},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# Outputs in a bucket instead, with the extra `s3`; nothing of it is loaded otherwise.
S3_BUCKET = env("MODELPILOT_S3_BUCKET")
if S3_BUCKET:
    STORAGES["default"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "endpoint_url": env("MODELPILOT_S3_ENDPOINT") or None,
            "region_name": env("MODELPILOT_S3_REGION") or None,
            # Without them boto3 looks where it always does (profile, role of the machine).
            "access_key": env("MODELPILOT_S3_ACCESS_KEY") or None,
            "secret_key": env("MODELPILOT_S3_SECRET_KEY") or None,
            "location": env("MODELPILOT_S3_PREFIX"),
            # Names are random and an attempt's own: asking first would be a second call.
            "file_overwrite": True,
            "default_acl": None,
        },
    }
# How long a signed link to an output works.
OUTPUT_URL_SECONDS = 900
# After so many days a job's files are deleted, and what it was asked; 0 keeps them for ever.
OUTPUT_DAYS = env_int("MODELPILOT_OUTPUT_DAYS", 30)

# "json", "text", or "": text where stderr is a terminal.
LOG_FORMAT = env("MODELPILOT_LOG_FORMAT")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "modelpilot.logs.Formatter", "wanted": LOG_FORMAT}},
    "loggers": {
        # Celery's worker sets the level of root to its own.
        "modelpilot": {"level": env("MODELPILOT_LOG_LEVEL", "INFO")},
        # It warns of every text whose words it counts otherwise than itself.
        "phonemizer": {"level": "ERROR"},
        # Without the handlers that it gives itself: one format for all lines.
        "uvicorn": {"level": "WARNING", "handlers": [], "propagate": True},
        # It tells every call, with the ids of sessions that open a page.
        "stripe": {"level": "WARNING"},
        # Each 404 has its line already.
        "django.request": {"level": "ERROR"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env("MODELPILOT_LOG_LEVEL", "INFO")},
}
