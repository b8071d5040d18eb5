"""Money, keys, usage and webhooks. Amounts in USD, times in Unix seconds."""

from typing import Any, Literal

from modelpilot.accounts.models import Permission
from modelpilot.api.answers.shapes import Price, Shape


class Balance(Shape):
    balance: float
    held: float
    available: float
    currency: Literal["USD"]


class Budget(Shape):
    object: Literal["budget"]
    key: int | None
    period: Literal["day", "month"]
    cap: float
    spent: float
    remaining: float
    soft_limit: float | None
    renews_at: int


class Budgets(Shape):
    object: Literal["list"]
    data: list[Budget]
    low_balance: float | None
    currency: Literal["USD"]


class Limits(Shape):
    requests_per_minute: int | None
    concurrency: int | None


class Spend(Shape):
    today: float
    month: float
    currency: Literal["USD"]


class Key(Shape):
    id: int
    object: Literal["key"]
    name: str
    key: str
    permissions: list[Permission]
    models: list[str] | None
    limits: Limits
    budgets: list[Budget]
    spend: Spend
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    previous_until: int | None


class PricedModel(Price):
    id: str
    kind: str


class Used(Shape):
    """The sums of a group: those of `day`, `model` and `key` that were asked for are there."""

    requests: int
    succeeded: int
    failed: int
    cost: float
    tokens_in: int
    tokens_out: int
    seconds: float
    day: str = ""
    model: str = ""
    key: int | None = None
    key_name: str | None = None


class Quote(Shape):
    model: str
    max_cost: float
    currency: Literal["USD"]


class Voice(Shape):
    id: str
    model: str
    language: str | None
    gender: str | None
    installed: bool
    aliases: list[str]


class Billing(Shape):
    object: Literal["billing"]
    balance: float
    held: float
    available: float
    debt: float
    frozen: bool
    first_purchase_bonus: bool
    payments: bool
    currency: Literal["USD"]


class Purchase(Shape):
    """`url` is where an open one is paid, `receipt_url` Stripe's receipt of a paid one."""

    id: str
    object: Literal["purchase"]
    state: str
    amount: float
    bonus: float
    refunded: float
    currency: Literal["USD"]
    url: str | None
    receipt_url: str | None
    created_at: int
    paid_at: int | None


class Redemption(Shape):
    object: Literal["redemption"]
    amount: float
    available: float


class Transfer(Shape):
    id: int
    object: Literal["transfer"]
    type: str
    amount: float
    reference: str | None
    note: str | None
    created_at: int


class Charged(Shape):
    model: str
    requests: int
    cost: float


class Statement(Shape):
    object: Literal["statement"]
    month: str
    complete: bool
    opening_balance: float
    moves: list[Transfer]
    charges: list[Charged]
    charged: float
    closing_balance: float
    currency: Literal["USD"]
    url: str


class Webhook(Shape):
    id: str
    object: Literal["webhook"]
    url: str
    enabled: bool
    disabled_reason: str | None
    created_at: int


class WebhookWithSecret(Webhook):
    secret: str
    previous_secret_until: int | None


class WebhookSecret(Shape):
    object: Literal["webhook_secret"]
    secret: str
    previous_secret_until: int | None


class Delivery(Shape):
    """`log` has the tries, with the time, status and error of each."""

    id: str
    object: Literal["webhook_delivery"]
    webhook: str | None
    job: str
    url: str
    type: str
    state: str
    attempts: int
    next_try_at: int | None
    last_status: int | None
    last_error: str | None
    log: list[dict[str, Any]]
    created_at: int
