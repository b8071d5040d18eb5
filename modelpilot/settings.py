"""Settings, and the only place that reads the environment.

A fresh clone runs with none of these set. Every secret may also come from a file
named by `NAME_FILE` (Docker and systemd hand secrets over that way).
"""

import ipaddress
import os
import re
import secrets
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from csp.constants import NONCE, NONE, SELF
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
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE names {file}, which can't be read: {error.strerror}."
            ) from None
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


def hour_costs(name: str) -> dict[str, float]:
    """`"cpu=0.05,NVIDIA H200=3.50"` as USD by device in small letters; "gpu" is any other GPU."""
    costs = {}
    for item in env_list(name):
        device, _, amount = item.rpartition("=")
        if not device.strip() or not re.fullmatch(r"\d{1,6}(\.\d+)?", amount.strip()):
            raise ImproperlyConfigured(
                f"{name} takes USD for an hour of each device, like cpu=0.05,NVIDIA H200=3.50; "
                f"{item!r} is none."
            )
        costs[device.strip().lower()] = float(amount)
    return costs


def kept_secret(path: Path) -> str:
    """The secret in `path`, made on first use and readable by its owner only."""
    try:
        return made_once(path)
    except OSError as error:
        raise ImproperlyConfigured(
            f"MODELPILOT_DATA is {path.parent}, where {path.name} can't be kept: "
            f"{error.strerror}. Make room, or name a folder that this user may write to."
        ) from None


def made_once(path: Path) -> str:
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


def version(changelog: Path) -> str:
    """The newest heading."""
    lines = changelog.read_text().splitlines() if changelog.exists() else []
    return next((line[3:].strip() for line in lines if line.startswith("## ")), "unknown")


VERSION = version(BASE_DIR / "CHANGELOG.md")
DATA = Path(env("MODELPILOT_DATA", str(BASE_DIR / "data"))).resolve()
# There while a restore runs, and after one that was killed: nothing else may start then.
RESTORING = DATA / "restoring"
HOST = env("MODELPILOT_HOST", "127.0.0.1")
PORT = env_int("MODELPILOT_PORT", 8000)
# The address that clients use, for absolute URLs; https here means production.
PUBLIC_URL = env("MODELPILOT_PUBLIC_URL").rstrip("/")
# What links in mails and on the terminal begin with: never a request's own Host.
SITE_URL = PUBLIC_URL or f"http://{HOST}:{PORT}"
PRODUCTION = PUBLIC_URL.startswith("https://")
TRUSTED_PROXIES = networks("TRUSTED_PROXIES")
# Webhooks may go to these hosts by http, and to private addresses.
WEBHOOK_HTTP_HOSTS = frozenset(host.lower() for host in env_list("MODELPILOT_WEBHOOK_HTTP_HOSTS"))

# Requests per period and client IP: for calls, and for polling routes.
RATE_LIMIT = rate("MODELPILOT_RATE_LIMIT", "100/minute")
POLL_RATE_LIMIT = rate("MODELPILOT_POLL_RATE_LIMIT", "600/minute")
# Requests that a web process has open at once, streams included; more are told to come again.
REQUESTS_AT_ONCE = env_int("MODELPILOT_REQUESTS_AT_ONCE", 4000)
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

# smtp://user:password@host:587 (encrypted by STARTTLS), smtps://…:465, or file:///folder, where
# each mail becomes a file. Without one no mail is sent, and addresses are not verified.
EMAIL_URL = env("MODELPILOT_EMAIL_URL")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env("MODELPILOT_EMAIL_FROM", "ModelPilot <noreply@localhost>")

# Signing in by an account elsewhere; each has its button once it has a client id. Redirect URIs:
# /accounts/github/login/callback/ and /accounts/oidc/{google,sso}/login/callback/.
GITHUB_URL = env("MODELPILOT_GITHUB_URL", "https://github.com").rstrip("/")
GOOGLE_URL = env("MODELPILOT_GOOGLE_URL", "https://accounts.google.com").rstrip("/")
OIDC_URL = env("MODELPILOT_OIDC_URL").rstrip("/")


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def identity_client(name: str, url: str) -> dict[str, str] | None:
    """The id and secret of `MODELPILOT_<name>_CLIENT_ID` and `…_SECRET`; None without an id."""
    client_id = env(f"MODELPILOT_{name}_CLIENT_ID")
    if not client_id:
        return None
    secret = env(f"MODELPILOT_{name}_CLIENT_SECRET")
    if not secret:
        raise ImproperlyConfigured(f"MODELPILOT_{name}_CLIENT_ID needs its _CLIENT_SECRET, too.")
    if not url.startswith(("https://", "http://")):
        raise ImproperlyConfigured(
            f"MODELPILOT_{name}_URL must be the address of the provider, like "
            f"https://login.example.com, not {url!r}."
        )
    return {"client_id": client_id, "secret": secret}


GITHUB_CLIENT = identity_client("GITHUB", GITHUB_URL)
GOOGLE_CLIENT = identity_client("GOOGLE", GOOGLE_URL)
OIDC_CLIENT = identity_client("OIDC", OIDC_URL)
OPENID_CONNECT = [
    {"provider_id": provider, "name": name, **client, "settings": {"server_url": url}}
    for provider, name, client, url in (
        ("google", "Google", GOOGLE_CLIENT, GOOGLE_URL),
        ("sso", env("MODELPILOT_OIDC_NAME", "single sign-on"), OIDC_CLIENT, OIDC_URL),
    )
    if client
]
# A provider that isn't configured isn't there at all, nor are its addresses.
IDENTITY_APPS: list[str] = []
SOCIALACCOUNT_PROVIDERS: dict[str, dict[str, object]] = {}
if OPENID_CONNECT:
    IDENTITY_APPS.append("allauth.socialaccount.providers.openid_connect")
    SOCIALACCOUNT_PROVIDERS["openid_connect"] = {
        "APPS": OPENID_CONNECT,
        "OAUTH_PKCE_ENABLED": True,
    }
if GITHUB_CLIENT:
    IDENTITY_APPS.append("allauth.socialaccount.providers.github")
    SOCIALACCOUNT_PROVIDERS["github"] = {
        "APP": GITHUB_CLIENT,
        "OAUTH_PKCE_ENABLED": True,
        # One's own GitHub Enterprise has its API below the same address.
        **({} if GITHUB_URL == "https://github.com" else {"GITHUB_URL": GITHUB_URL}),
    }
# Where browsers are sent to by these buttons: a provider that asks another one is named too.
IDENTITY_ORIGINS = [
    *([origin(GITHUB_URL)] if GITHUB_CLIENT else []),
    *([origin(GOOGLE_URL)] if GOOGLE_CLIENT else []),
    *([origin(OIDC_URL)] if OIDC_CLIENT else []),
    *env_list("MODELPILOT_OIDC_ORIGINS"),
]

# Jobs: how long a pod owns a claimed job without renewing it, and how often it is tried.
LEASE_S = 30
MAX_ATTEMPTS = 3
# Jobs that an account may have queued and running at once.
JOBS_PER_ACCOUNT = env_int("MODELPILOT_JOBS_PER_ACCOUNT", 10_000)
# Jobs that may wait for one model before accounts that wait for it must.
JOBS_PER_MODEL = env_int("MODELPILOT_JOBS_PER_MODEL", 100_000)
IDLE_SECONDS = env_int("MODELPILOT_IDLE_SECONDS", 300)
# What an hour of each device costs the operator, in USD: "cpu", a GPU's name, or "gpu".
DEVICE_HOUR_COST = hour_costs("MODELPILOT_DEVICE_HOUR_COST")

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
IDENTITY_NAMES = tuple(
    f"MODELPILOT_{name}_CLIENT_{part}"
    for name in ("GITHUB", "GOOGLE", "OIDC")
    for part in ("ID", "SECRET")
)


def without(environment: dict[str, str], *names: str) -> dict[str, str]:
    """An environment in which these variables, also as files, are not set."""
    return {
        name: value
        for name, value in environment.items()
        if name.removesuffix("_FILE") not in names
    }


# The node starts pods: it takes no money, sends no mail and signs nobody in.
NODE_ENVIRONMENT = without(
    CHILD_ENVIRONMENT, *STRIPE_NAMES, *IDENTITY_NAMES, "MODELPILOT_EMAIL_URL"
)
POD_ENVIRONMENT = without(NODE_ENVIRONMENT, "MODELPILOT_SECRET_KEY") | {
    "MODELPILOT_ROLE": "pod",
    # OpenMP's threads wait for each other some hundred times a token. Those that spin for long
    # take the cores from everyone, those that sleep at once wake too late: tokens/s of one chat
    # alone / beside a busy neighbour, by spins (libgomp; other runtimes know the policy only):
    # none 34 / 79, 200: 119 / 58, 5,000: 132 / 9, 20,000: 122 / 2.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "200",
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
# Counts what people try on the sign-in pages, for all web processes together.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
}


def email(url: str) -> dict[str, object]:
    """Django's settings for the address of a mail server, or of a folder that takes mails."""
    parts = urlsplit(url)
    if not url:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    if parts.scheme == "file" and parts.path.strip("/"):
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "EMAIL_FILE_PATH": unquote(parts.path),
        }
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ImproperlyConfigured(
            "MODELPILOT_EMAIL_URL must look like smtp://user:password@host:587, smtps://…:465 "
            "or file:///folder."
        )
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 25 if local else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        # A password must not travel readable; a relay on this machine needs none.
        "EMAIL_USE_TLS": parts.scheme == "smtp" and not local,
        "EMAIL_TIMEOUT": 10,
    }


globals().update(email(EMAIL_URL))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DEBUG = False
LOOPBACK_NAMES = ["localhost", "127.0.0.1", "[::1]"]
# Whose name a page may be asked by. Where only this machine reaches us, a name that leads here is
# that of a foreign site which wants its visitors' browsers to (DNS rebinding).
if PUBLIC_URL:
    ALLOWED_HOSTS = [urlsplit(PUBLIC_URL).hostname or "*"]
elif HOST in LOOPBACK_NAMES or HOST == "::1":
    ALLOWED_HOSTS = LOOPBACK_NAMES
else:
    ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "modelpilot.urls"
ASGI_APPLICATION = "modelpilot.asgi.application"
AUTH_USER_MODEL = "accounts.User"
INSTALLED_APPS = [
    # Before the admin, whose templates it replaces. Ours is modelpilot.dashboard.admin.site.
    "unfold.apps.BasicAppConfig",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    *IDENTITY_APPS,
    "allauth.usersessions",
    "csp",
    "django_htmx",
    "ninja",
    "modelpilot",
    "billing",
    "modelpilot.accounts",
    "modelpilot.jobs",
    "modelpilot.fleet",
]
# Calls pass through these alone: see asgi.py.
API_MIDDLEWARE = ["modelpilot.api.envelope.envelope"]
# What pages pass through.
MIDDLEWARE = [
    *API_MIDDLEWARE,
    # Pads what it compresses at random, so that lengths tell nobody of a form's token (BREACH).
    "django.middleware.gzip.GZipMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "modelpilot.dashboard.shell.private",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "modelpilot.dashboard.shell.acting",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "modelpilot.dashboard.shell.shell",
            ],
            "builtins": ["django.templatetags.static", "modelpilot.dashboard.tags"],
        },
    }
]
UNFOLD = {
    "SITE_TITLE": "ModelPilot",
    "SITE_HEADER": "ModelPilot",
    "SITE_SUBHEADER": "Operators",
    "SITE_ICON": "modelpilot.dashboard.admin.site.mark",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "modelpilot.dashboard.admin.site.mark"}
    ],
    "SITE_URL": "/dashboard/",
    "STYLES": ["modelpilot.dashboard.admin.site.style"],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "ACCOUNT": {"navigation": [{"title": "Security", "link": "/accounts/2fa/"}]},
    "SIDEBAR": {"navigation": "modelpilot.dashboard.admin.site.navigation"},
    # The accent of the dashboard, in its shades.
    "COLORS": {
        "primary": {
            "50": "#f2f3ff",
            "100": "#e6e8ff",
            "200": "#d0d5ff",
            "300": "#a5b0ff",
            "400": "#7f8cfa",
            "500": "#7280f2",
            "600": "#3d4ee0",
            "700": "#3140c4",
            "800": "#2a369d",
            "900": "#28327c",
            "950": "#191d48",
        }
    },
}
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "overview"
ACCOUNT_ADAPTER = "modelpilot.accounts.adapter.Adapter"
SOCIALACCOUNT_ADAPTER = "modelpilot.accounts.adapter.SocialAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
# Without mail nobody could follow the link.
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if EMAIL_URL else "none"
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 900
# Who changes how an account is entered is told so by mail.
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if PRODUCTION else "http"
MFA_TOTP_ISSUER = "ModelPilot"
# Passkeys need scripts that our policy for pages refuses.
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
# Forms by our own templates, in templates/django/forms/.
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
# Behind https only: cookies of this host alone, and browsers that come back encrypted.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_NAME = "__Host-session" if PRODUCTION else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrf" if PRODUCTION else "csrftoken"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PRODUCTION else []
# Scripts read the token from the page.
CSRF_COOKIE_HTTPONLY = True
# By the gate, with every answer.
SECURE_CONTENT_TYPE_NOSNIFF = False
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Where forms may lead by way of a redirect, besides to ourselves.
FORM_TARGETS = [
    *(["https://checkout.stripe.com"] if STRIPE_SECRET_KEY else []),
    *IDENTITY_ORIGINS,
]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "media-src": [SELF, "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF, *FORM_TARGETS],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
# Sent by the gate with every answer.
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
# Times as operators read them.
FORMAT_MODULE_PATH = "modelpilot.dashboard.formats"

STORAGES: dict[str, dict[str, object]] = {
    "default": {
        "BACKEND": "modelpilot.jobs.storage.DurableFileSystemStorage",
        "OPTIONS": {"location": DATA / "outputs"},
    },
    "staticfiles": {"BACKEND": "modelpilot.dashboard.static_files.VersionedStorage"},
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
