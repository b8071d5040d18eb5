"""The job: one row behind every route, and the only truth about it.

    queued ──claim──> running ──finish──> succeeded | failed | cancelled
      ^                  │
      └────── rescue ────┘  (its pod died; at most MAX_ATTEMPTS times)

A queued job can also be cancelled, or fail at its deadline, without ever running.
"""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from billing.models import Transfer
from modelpilot.accounts.models import ApiKey
from modelpilot.jobs.ids import new_id


class Job(models.Model):
    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=new_id)
    # Found by `jobs_by_owner`.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="jobs", db_index=False
    )
    # The id of the API key that made it, which it outlives; null: a browser session.
    key = models.BigIntegerField(null=True)
    # Which permission created it; a key with that permission may follow and cancel it.
    permission = models.CharField(max_length=20)
    route = models.CharField(max_length=40)
    request_id = models.CharField(max_length=100)
    idempotency_key = models.CharField(max_length=255, null=True)
    # SHA-256 of the body, to tell a retry from another request under the same key.
    body_digest = models.BinaryField(max_length=32, null=True)

    kind = models.CharField(max_length=20)
    # A catalog id and a deployment id; names, so that jobs outlive both.
    model = models.CharField(max_length=100)
    deployment = models.CharField(max_length=40)
    request = models.JSONField()
    # Files came with the request: they are forgotten when outputs are.
    uploads = models.BooleanField(db_default=False)
    # A client reads along: once claimed it is never started again (see rescue).
    stream = models.BooleanField(default=False)
    # A client waits; the pod cancels when nobody has refreshed `watch:<id>` for a while.
    watched = models.BooleanField(default=False)

    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    # Start-time fair queueing: jobs are claimed by this, then by age.
    fair_tag = models.BigIntegerField(default=0)
    # The fence: every write about a running job names the attempt that it is for.
    attempt = models.IntegerField(default=0)
    pod = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    # When its client's `Cancel-After` passes: as if it were cancelled at that moment.
    cancel_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    # Micro-dollars: what was held, and what it came to.
    price = models.BigIntegerField()
    # The price at which it was accepted and is settled, by parts (see billing.pricing.Price);
    # null: flat.
    tariff = models.JSONField(null=True)
    cost = models.BigIntegerField(default=0)
    hold = models.OneToOneField(Transfer, models.PROTECT, null=True, related_name="job")
    # The budgets that it was counted in when it was accepted.
    budgets = ArrayField(models.BigIntegerField(), null=True)

    result = models.JSONField(null=True)
    error = models.JSONField(null=True)
    # Whom to tell when it has ended, beside the account's endpoints.
    webhook = models.TextField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "route", "idempotency_key"],
                name="one_job_per_idempotency_key",
                condition=models.Q(idempotency_key__isnull=False),
            ),
        ]
        # Queues are read through partial indexes: they hold live rows only, however
        # long the history.
        indexes = [
            models.Index(
                fields=["model", "fair_tag", "id"],
                name="jobs_queue",
                condition=models.Q(state="queued"),
            ),
            models.Index(
                fields=["owner", "model", "fair_tag"],
                name="jobs_queue_by_owner",
                condition=models.Q(state="queued"),
            ),
            # Jobs that lost a pod: few, and looked at by every claim.
            models.Index(
                fields=["model", "fair_tag", "id"],
                name="jobs_queue_tried",
                condition=models.Q(state="queued", attempt__gt=0),
            ),
            models.Index(
                fields=["lease_until"],
                name="jobs_leases",
                condition=models.Q(state="running"),
            ),
            # With what a list chooses by, so that it is read from here alone.
            models.Index(
                fields=["owner", "id"],
                name="jobs_by_owner",
                include=["kind", "model", "state", "key"],
            ),
            # What operators look for among a million that succeeded.
            models.Index(
                fields=["id"],
                name="jobs_unsuccessful",
                condition=models.Q(state__in=["failed", "cancelled"]),
            ),
            models.Index(fields=["id"], name="jobs_with_uploads", condition=models.Q(uploads=True)),
            # What an account and a key have under way: counted by every submit.
            models.Index(
                fields=["owner", "key"],
                name="jobs_under_way",
                condition=models.Q(state__in=["queued", "running"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} ({self.state})"

    @property
    def terminal(self) -> bool:
        return self.state not in (self.State.QUEUED, self.State.RUNNING)


class Usage(models.Model):
    """What one key made of one model on one day (UTC) on which its jobs ended.

    Counted by the statement that ends a job, so that nobody ever has to sum jobs: it always
    equals the ledger. The names outlive the key and the model; a null key is a browser session.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    day = models.DateField()
    key = models.BigIntegerField(null=True)
    model = models.CharField(max_length=100)
    # The jobs that ended; neither succeeded nor failed: cancelled.
    requests = models.BigIntegerField()
    succeeded = models.BigIntegerField()
    failed = models.BigIntegerField()
    # Micro-dollars.
    cost = models.BigIntegerField()
    tokens_in = models.BigIntegerField()
    tokens_out = models.BigIntegerField()
    # How long models worked, without queues.
    seconds = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "day", "key", "model"],
                name="one_usage_per_day_key_and_model",
                nulls_distinct=False,
            ),
        ]
        # What all accounts used of late, for operators.
        indexes = [models.Index(fields=["day"], name="usage_by_day")]

    def __str__(self) -> str:
        return f"{self.model} by key {self.key} on {self.day}"


class Budget(models.Model):
    """The most that an account, or one key of it, may spend on the jobs of a day or a month (UTC).

    `spent` is what the jobs accepted since `start` cost or, as long as they have not ended, hold.
    It is raised by the statement that holds the money and lowered by the one that ends the job
    (see sql.py), and counts for the period that began at `start` only. Amounts are micro-dollars.
    """

    class Period(models.TextChoices):
        DAY = "day"
        MONTH = "month"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="budgets", db_index=False
    )
    # Null: of the account, whatever its keys.
    key = models.ForeignKey(
        ApiKey, models.CASCADE, null=True, related_name="budgets", db_index=False
    )
    period = models.CharField(max_length=5, choices=Period.choices)
    cap = models.BigIntegerField()
    # Above which its owner gets a mail: a share of the cap, or an amount.
    soft_percent = models.SmallIntegerField(null=True)
    soft_amount = models.BigIntegerField(null=True)
    # The first day of the period that `spent` is of.
    start = models.DateField()
    spent = models.BigIntegerField()
    # What of it was spent and held before the budget was made, of which no job knows.
    carried = models.BigIntegerField()
    # The period of which the owner has had the mail.
    told = models.DateField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "key", "period"],
                name="one_budget_per_key_and_period",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="budget_in_bounds",
                condition=models.Q(cap__gte=0, spent__gte=0, carried__gte=0)
                & (models.Q(soft_percent=None) | models.Q(soft_amount=None)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cap} a {self.period}"


class Output(models.Model):
    """One file that a job made, at `<job>/<attempt>/<name>` in the storage."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    job = models.ForeignKey(Job, models.CASCADE, related_name="outputs")
    name = models.CharField(max_length=100)
    media_type = models.CharField(max_length=100)
    bytes = models.BigIntegerField()
    path = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.path


class WebhookSecret(models.Model):
    """What webhooks are signed with; after a rotation the one before holds for a day."""

    secret = models.CharField(max_length=100)
    previous_secret = models.CharField(max_length=100, null=True)
    previous_until = models.DateTimeField(null=True)

    class Meta:
        abstract = True


class WebhookSigner(WebhookSecret):
    """The account's own secret, for webhooks that are named in a request."""

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.PROTECT, primary_key=True, related_name="+"
    )

    def __str__(self) -> str:
        return f"signer of {self.owner_id}"


class WebhookEndpoint(WebhookSecret):
    """An address that hears of every job of its owner.

    It is never deleted from the table: a job that ends at that moment could not end.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="webhook_endpoints"
    )
    url = models.TextField()
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, null=True)
    deleted_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """That a job has ended, told to one address: written by the statement that ended it."""

    class State(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    job = models.ForeignKey(Job, models.CASCADE, related_name="webhook_deliveries")
    # Null for the one that was named in the request.
    endpoint = models.ForeignKey(
        WebhookEndpoint, models.PROTECT, null=True, related_name="deliveries", db_index=False
    )
    url = models.TextField()
    event = models.CharField(max_length=20)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    # Of this round: sending it again begins a new one.
    attempts = models.IntegerField(default=0)
    next_try_at = models.DateTimeField(db_default=Now())
    # Somebody is sending it; past that moment they are thought dead.
    lease_until = models.DateTimeField(null=True)
    last_status = models.IntegerField(null=True)
    last_error = models.CharField(max_length=200, null=True)
    # The latest tries, oldest first: {"at", "status", "error", "ms"}.
    log = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "webhook deliveries"
        indexes = [
            models.Index(
                fields=["next_try_at"],
                name="webhooks_due",
                condition=models.Q(state="pending"),
            ),
            models.Index(fields=["owner", "created_at"], name="webhooks_by_owner"),
            # For operators: all accounts', newest first; and those that were given up.
            models.Index(fields=["created_at", "id"], name="webhooks_by_age"),
            models.Index(
                fields=["created_at", "id"],
                name="webhooks_failed",
                condition=models.Q(state="failed"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.url}"
