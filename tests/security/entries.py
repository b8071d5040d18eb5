"""What each route is to somebody who is not its owner. A new route needs a line here, or the
suite fails: that is what this table is for."""

from dataclasses import dataclass
from enum import Enum


class Access(Enum):
    # For anybody, and the same for everybody.
    OPEN = "open"
    # For whoever has an account: only what is their own.
    MINE = "mine"
    # About one thing: for its owner.
    THEIRS = "theirs"
    # For accounts that may deploy models.
    DEPLOYERS = "deployers"
    # The operators' pages.
    OPERATORS = "operators"
    # For whoever holds a link that was signed or made at random.
    LINKED = "linked"


@dataclass(frozen=True, slots=True)
class Entry:
    """`values` are what stands for the parameters: alice's thing of that name, else the text."""

    access: Access
    values: dict[str, str]


def opened(**values: str) -> Entry:
    return Entry(Access.OPEN, values)


def mine(**values: str) -> Entry:
    return Entry(Access.MINE, values)


def theirs(**values: str) -> Entry:
    return Entry(Access.THEIRS, values)


def deployers(**values: str) -> Entry:
    return Entry(Access.DEPLOYERS, values)


def operators(**values: str) -> Entry:
    return Entry(Access.OPERATORS, values)


def linked(**values: str) -> Entry:
    return Entry(Access.LINKED, values)


# Under /api/v1, and most of them under /v1 as well.
OPENAI = {
    "chat/completions": mine(),
    "completions": mine(),
    "embeddings": mine(),
    "audio/speech": mine(),
    "audio/transcriptions": mine(),
    "images/generations": mine(),
    "images/edits": mine(),
    "videos": mine(),
    "videos/<job_id>": theirs(job_id="video"),
    "videos/<job_id>/content": theirs(job_id="video"),
    "models": mine(),
    "models/<model>": mine(model="echo"),
    "": opened(),
}
API = {
    **OPENAI,
    "billing/stripe/webhook": linked(),
    "openapi.json": opened(),
    "docs": opened(),
    "generate/image": mine(),
    "generate/image/status/<job_id>": theirs(job_id="image"),
    "generate/video": mine(),
    "generate/video/status/<job_id>": theirs(job_id="video"),
    "generate/audio": mine(),
    "generate/audio/status/<job_id>": theirs(job_id="audio"),
    "voices": mine(),
    "jobs": mine(),
    "jobs/<job_id>": theirs(job_id="text"),
    "jobs/<job_id>/cancel": theirs(job_id="text"),
    "jobs/<job_id>/replay": theirs(job_id="text"),
    "jobs/<job_id>/events": theirs(job_id="text"),
    "balance": mine(),
    "key": mine(),
    "pricing": mine(),
    "usage": mine(),
    "quote": mine(),
    "budgets": mine(),
    "budgets/low_balance": mine(),
    "billing": mine(),
    "billing/checkout": mine(),
    "billing/purchases": mine(),
    "billing/redeem": mine(),
    "billing/transfers": mine(),
    "billing/statement": mine(),
    "deployments": deployers(),
    "devices": deployers(),
    "deployments/<deployment_id>": deployers(deployment_id="deployment"),
    "deployments/<deployment_id>/start": deployers(deployment_id="deployment"),
    "deployments/<deployment_id>/stop": deployers(deployment_id="deployment"),
    "webhooks": mine(),
    "webhooks/secret": mine(),
    "webhooks/secret/rotate": mine(),
    "webhooks/deliveries": mine(),
    "webhooks/deliveries/<delivery_id>": theirs(delivery_id="delivery"),
    "webhooks/deliveries/<delivery_id>/redeliver": theirs(delivery_id="delivery"),
    "webhooks/<webhook_id>": theirs(webhook_id="endpoint"),
    "webhooks/<webhook_id>/rotate": theirs(webhook_id="endpoint"),
    "webhooks/<webhook_id>/deliveries": theirs(webhook_id="endpoint"),
}
PUBLIC = {
    "": opened(),
    "models": opened(),
    "models/<name>": opened(name="echo"),
    "pricing": opened(),
    "docs/": opened(),
    "docs/<name>": opened(name="quickstart"),
    "healthz": opened(),
    "readyz": opened(),
    # From this machine it is open, and the matrix comes through a proxy.
    "metrics": operators(),
    "outputs/<output_id>": linked(output_id="output"),
    "setup/<token>": linked(token="signed"),
    # The original's one path outside of /api/v1, for whoever has a key.
    "api/deployments/<deployment_id>/health": mine(deployment_id="deployment"),
    "api/": opened(),
}
ACCOUNTS = {
    "invitation/<token>": linked(token="signed"),
    "waiting/": opened(),
    "login/": opened(),
    "logout/": opened(),
    "inactive/": opened(),
    "signup/": opened(),
    "reauthenticate/": mine(),
    "email/": mine(),
    "confirm-email/": opened(),
    "confirm-email/<key>/": linked(key="signed"),
    "password/change/": mine(),
    "password/set/": mine(),
    "password/reset/": opened(),
    "password/reset/done/": opened(),
    "password/reset/key/done/": opened(),
    "password/reset/key/<uidb36>-<key>/": linked(uidb36="user", key="set-password"),
    "login/code/confirm/": opened(),
    "2fa/": mine(),
    # Between the password and the second factor: of the visitor's own session.
    "2fa/authenticate/": opened(),
    "2fa/reauthenticate/": mine(),
    "2fa/totp/activate/": mine(),
    "2fa/totp/deactivate/": mine(),
    "2fa/recovery-codes/": mine(),
    "2fa/recovery-codes/generate/": mine(),
    "2fa/recovery-codes/download/": mine(),
    "3rdparty/": mine(),
    "3rdparty/login/cancelled/": opened(),
    "3rdparty/login/error/": opened(),
    "3rdparty/signup/": opened(),
    "social/login/cancelled/": opened(),
    "social/login/error/": opened(),
    "social/signup/": opened(),
    "social/connections/": opened(),
    "sessions/": mine(),
    "github/login/": opened(),
    "github/login/callback/": opened(),
    "oidc/<provider_id>/login/": opened(provider_id="sso"),
    "oidc/<provider_id>/login/callback/": opened(provider_id="sso"),
}
DASHBOARD = {
    "": mine(),
    "playground/": mine(),
    "playground/<name>/": mine(name="echo"),
    "jobs/": mine(),
    "jobs/<job_id>/line": theirs(job_id="text"),
    "jobs/<job_id>/": theirs(job_id="text"),
    "jobs/<job_id>/as/<language>": theirs(job_id="text", language="curl"),
    "keys/": mine(),
    "keys/<key_id>/": theirs(key_id="key"),
    "keys/<key_id>/rotate": theirs(key_id="key"),
    "keys/<key_id>/revoke": theirs(key_id="key"),
    "usage/": mine(),
    "webhooks/": mine(),
    "webhooks/secret": mine(),
    "webhooks/<endpoint_id>": theirs(endpoint_id="endpoint"),
    "webhooks/deliveries/<delivery_id>/redeliver": theirs(delivery_id="delivery"),
    "settings/": mine(),
    "settings/export": mine(),
    "settings/delete": mine(),
    "billing/": mine(),
    "billing/months/<name>": mine(name="2026-01"),
    "deployments/": deployers(),
    "deployments/live": deployers(),
    "billing/success": linked(),
    "billing/statement/<token>": linked(token="signed"),
}
# The things behind the admin's tables; a table that is not here fails the suite, too.
TABLES = {
    "accounts/user": "user",
    "accounts/apikey": "key",
    "accounts/invitation": "invitation",
    "accounts/auditentry": "audit",
    "billing/account": "account",
    "billing/transfer": "transfer",
    "billing/purchase": "purchase",
    "billing/pricechange": "none",
    "billing/redeemcode": "none",
    "jobs/job": "text",
    "jobs/webhookendpoint": "endpoint",
    "jobs/webhookdelivery": "delivery",
    "fleet/deployment": "deployment",
    "fleet/node": "node",
    "fleet/pod": "pod",
}
FURTHER_ADMIN = {
    "": operators(),
    "search/": operators(),
    "login/": operators(),
    "logout/": opened(),
    "password_change/": operators(),
    "password_change/done/": operators(),
    "autocomplete/": operators(),
    "jsi18n/": operators(),
    "r/<content_type_id>/<object_id>/": operators(content_type_id="1", object_id="user"),
    "<app_label>/": operators(app_label="jobs"),
    "<url>": operators(url="anything"),
}
AREAS = {
    "api/v1/": API,
    "v1/": OPENAI,
    "accounts/": ACCOUNTS,
    "dashboard/": DASHBOARD,
    "admin/": FURTHER_ADMIN,
    "": PUBLIC,
}


def entry_of(pattern: str) -> Entry | None:
    """What is known of a route; None for one that nobody has thought of."""
    for table, thing in TABLES.items():
        if pattern.startswith(f"admin/{table}/"):
            return operators(object_id=thing)
    for prefix, area in AREAS.items():
        if pattern.startswith(prefix) and pattern.removeprefix(prefix) in area:
            return area[pattern.removeprefix(prefix)]
    return None


# Things of alice's named elsewhere than in the path.
NAMED = (
    ("GET", "/api/v1/jobs?after={text}"),
    ("GET", "/api/v1/jobs?key={key}&limit=100"),
    ("GET", "/api/v1/jobs?model=alicesviolet-text"),
    ("GET", "/api/v1/videos?after={video}"),
    ("GET", "/v1/videos?after={video}&order=asc"),
    ("GET", "/api/v1/billing/purchases?after={purchase}"),
    ("GET", "/api/v1/billing/transfers?after={transfer}"),
    ("GET", "/api/v1/usage?group_by=key,model"),
    ("GET", "/api/v1/webhooks/deliveries?job={text}"),
    ("GET", "/api/v1/webhooks/deliveries?after=msg_{delivery}"),
    ("PUT", "/api/v1/budgets key={key}"),
    ("GET", "/dashboard/jobs/?before={text}"),
    ("GET", "/dashboard/jobs/?key={key}"),
    ("GET", "/dashboard/jobs/?model=alicesviolet-text"),
    ("GET", "/dashboard/usage/?key={key}"),
    ("GET", "/dashboard/billing/?purchases={purchase}"),
    ("GET", "/dashboard/billing/?before={transfer}"),
    ("GET", "/dashboard/webhooks/?before={delivery}"),
    ("GET", "/dashboard/playground/echo/?job={text}"),
    ("GET", "/dashboard/billing/success?session_id=cs_test_wrong0123456789"),
)
