"""The books, in the shape of TigerBeetle: accounts, and transfers that only ever append.

Money moves from the account that a transfer debits to the one it credits. A `pending`
transfer sets money aside; exactly one `post` (takes some or all of it) or `void`
(gives it back) resolves it. Only accounts that belong to somebody keep counters: a counter
on `revenue` would be one hot row for everybody, and a sum of transfers says the same.

Beside them is what the transfers are about: purchases, their reversals, redeem codes. Rows
are locked in the order purchase, user's account, debt account, transfer.
"""

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class Account(models.Model):
    class Code(models.TextChoices):
        USER = "user"
        USER_DEBT = "user_debt"
        REVENUE = "revenue"
        BONUS_EXPENSE = "bonus_expense"
        STRIPE_CLEARING = "stripe_clearing"
        DISPUTE_LOSS = "dispute_loss"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="accounts"
    )
    code = models.CharField(max_length=20, choices=Code.choices)
    debits_pending = models.BigIntegerField(default=0, db_default=0)
    debits_posted = models.BigIntegerField(default=0, db_default=0)
    credits_pending = models.BigIntegerField(default=0, db_default=0)
    credits_posted = models.BigIntegerField(default=0, db_default=0)
    # Nothing can be held of it: a Freeze of its owner is in force.
    frozen = models.BooleanField(default=False, db_default=False)
    # Its owner has budgets, which whoever holds money of it must ask too.
    budgeted = models.BooleanField(default=False, db_default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "owner", "code", name="one_account_per_owner_and_code", nulls_distinct=False
            ),
            models.CheckConstraint(
                name="user_cannot_overspend",
                condition=~models.Q(code="user")
                | models.Q(
                    credits_posted__gte=models.F("debits_posted") + models.F("debits_pending")
                ),
            ),
            models.CheckConstraint(
                name="debt_not_overpaid",
                condition=~models.Q(code="user_debt")
                | models.Q(debits_posted__gte=models.F("credits_posted")),
            ),
            models.CheckConstraint(
                name="counters_not_negative",
                condition=models.Q(
                    debits_pending__gte=0,
                    debits_posted__gte=0,
                    credits_pending__gte=0,
                    credits_posted__gte=0,
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} of {self.owner_id}" if self.owner_id else self.code


class Transfer(models.Model):
    class Kind(models.TextChoices):
        SINGLE = "single"
        PENDING = "pending"
        POST = "post"
        VOID = "void"

    # Their indexes are below: an account's newest transfers are found without sorting.
    debit = models.ForeignKey(Account, models.PROTECT, related_name="debits", db_index=False)
    credit = models.ForeignKey(Account, models.PROTECT, related_name="credits", db_index=False)
    amount = models.BigIntegerField()
    # What it is for (hold, charge, release, grant, …), and for which object: together
    # unique, so nothing is ever booked twice.
    code = models.CharField(max_length=20)
    ref = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    # The pending transfer that this one resolves.
    pending = models.OneToOneField("self", models.PROTECT, null=True, related_name="resolution")
    note = models.CharField(max_length=200, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(fields=["debit", "id"], name="transfer_by_debit"),
            models.Index(fields=["credit", "id"], name="transfer_by_credit"),
            # What left an account otherwise than for jobs: few, among millions of charges.
            models.Index(
                fields=["debit", "id"],
                name="transfer_single_by_debit",
                condition=models.Q(kind="single"),
            ),
        ]
        constraints = [
            models.UniqueConstraint("code", "ref", name="booked_once"),
            # The bonus of the first purchase, once per account whatever happens at once.
            models.UniqueConstraint(
                fields=["credit"], condition=models.Q(code="bonus"), name="one_bonus_per_account"
            ),
            models.CheckConstraint(name="amount_positive", condition=models.Q(amount__gt=0)),
            models.CheckConstraint(
                name="only_resolutions_name_a_pending",
                condition=models.Q(kind__in=["post", "void"], pending__isnull=False)
                | models.Q(kind__in=["single", "pending"], pending__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.code} {self.ref}: {self.amount}"


class Purchase(models.Model):
    """Credit that somebody buys, from before the checkout until it is paid or given up."""

    class State(models.TextChoices):
        OPEN = "open"
        # Paid by a method that takes days; the money is not there yet.
        PROCESSING = "processing"
        PAID = "paid"
        EXPIRED = "expired"
        FAILED = "failed"
        # Stripe was paid something else than we asked for: an operator has to look.
        MISMATCHED = "mismatched"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="purchases", db_index=False
    )
    # Micro-dollars, whole cents.
    amount = models.BigIntegerField()
    # What was given on top: paid once per account, taken back with the first reversal.
    bonus = models.BigIntegerField(default=0, db_default=0)
    bonus_taken = models.BooleanField(default=False, db_default=False)
    # How often the bonus changed hands since; names these transfers.
    bonus_moves = models.IntegerField(default=0, db_default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    note = models.CharField(max_length=300, default="", db_default="")
    session = models.CharField(max_length=255, null=True, unique=True)
    url = models.TextField(default="", db_default="")
    intent = models.CharField(max_length=255, null=True, unique=True)
    receipt_url = models.TextField(default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())
    paid_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="purchase_by_owner"),
            models.Index(
                fields=["created_at"],
                condition=models.Q(state__in=["open", "processing", "mismatched"]),
                name="purchase_unsettled",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="purchase_of_whole_cents",
                condition=models.Q(amount__gt=0, bonus__gte=0)
                & models.Q(amount=models.F("amount") / 10_000 * 10_000),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.amount} {self.state}"


class Reversal(models.Model):
    """Money that goes back to who paid: a refund, or a dispute. Its stage only ever rises."""

    class Kind(models.TextChoices):
        REFUND = "refund"
        DISPUTE = "dispute"

    class Stage(models.IntegerChoices):
        # A dispute that has taken nothing yet.
        SEEN = 0
        # The credit is taken from the account, or is its debt.
        TAKEN = 1
        # It never went, or came back: a refund that failed, a dispute that was won.
        UNDONE = 2

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    purchase = models.ForeignKey(Purchase, models.PROTECT, related_name="reversals")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    # Micro-dollars, without the bonus.
    amount = models.BigIntegerField()
    stage = models.SmallIntegerField(choices=Stage.choices, default=Stage.SEEN)
    # Stripe's refund or dispute. Null: our own refund that Stripe has not confirmed yet.
    stripe_id = models.CharField(max_length=255, null=True, unique=True)
    note = models.CharField(max_length=200, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(
                fields=["created_at"],
                condition=models.Q(stripe_id__isnull=True, stage=1),
                name="reversal_unsent",
            ),
        ]
        constraints = [
            models.CheckConstraint(name="reversal_positive", condition=models.Q(amount__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.stripe_id or self.id}: {self.amount}"


class Freeze(models.Model):
    """Why an account may not spend. It may again once no freeze of it is in force."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="freezes")
    # "dispute:dp_…", or "operator:<uuid>".
    cause = models.CharField(max_length=300, unique=True)
    reason = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())
    lifted_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.cause


class Proof(models.Model):
    """What the latest look at the books has found (see `jobs.housekeeping`): one row."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    checked_at = models.DateTimeField()
    # When nothing was wrong for the last time; null: never yet.
    proved_at = models.DateTimeField(null=True)
    # A sentence each.
    problems = models.JSONField(default=list)

    class Meta:
        constraints = [models.CheckConstraint(name="one_proof", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"{self.checked_at}: {len(self.problems)} problems"


class LowBalance(models.Model):
    """That somebody wants a mail when their balance has fallen below a threshold."""

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.PROTECT, primary_key=True, related_name="low_balance"
    )
    # Micro-dollars.
    threshold = models.BigIntegerField()
    # When the mail went out; null again once the balance has risen.
    told_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="low_balance_positive", condition=models.Q(threshold__gt=0)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.owner_id} below {self.threshold}"


class StripeEvent(models.Model):
    """An event of Stripe's that was acted on, written with what it caused."""

    id = models.CharField(max_length=255, primary_key=True)
    type = models.CharField(max_length=100)
    handled_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class RedeemCode(models.Model):
    """Credit for whoever knows the code: once per account, `uses_max` times in all."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    # HMAC-SHA256 of the code: a stolen table redeems nothing.
    digest = models.BinaryField(max_length=32, unique=True)
    last_four = models.CharField(max_length=4)
    amount = models.BigIntegerField()
    uses_max = models.IntegerField(default=1)
    uses = models.IntegerField(default=0, db_default=0)
    note = models.CharField(max_length=200, default="", db_default="")
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="code_is_not_overused",
                condition=models.Q(amount__gt=0, uses__gte=0, uses__lte=models.F("uses_max")),
            ),
        ]

    def __str__(self) -> str:
        return f"…{self.last_four}"


class PriceChange(models.Model):
    """What a model costs from `starts_at` on, instead of what its card says.

    The rows are the record of who changed which price, and why: none is ever changed or deleted,
    but that one may be cancelled before it starts (see billing.prices).
    """

    model = models.CharField(max_length=100)
    # Micro-dollars by part (see billing.pricing.Price); null: what its card says, again.
    price = models.JSONField(null=True)
    starts_at = models.DateTimeField(db_default=Now())
    reason = models.CharField(max_length=200)
    # Null: by a command on the operator's machine.
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(db_default=Now())
    cancelled_at = models.DateTimeField(null=True)
    cancelled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", db_index=False
    )

    class Meta:
        indexes = [
            # Read by every request.
            models.Index(
                fields=["model", "-starts_at", "-id"],
                condition=models.Q(cancelled_at__isnull=True),
                name="price_in_force",
            ),
        ]
        constraints = [
            # Nothing that was charged is ever explained by a later row.
            models.CheckConstraint(
                name="price_starts_no_earlier_than_now",
                condition=models.Q(starts_at__gte=models.F("created_at")),
            ),
            models.CheckConstraint(
                name="price_cancelled_before_it_starts",
                condition=models.Q(cancelled_at__isnull=True)
                | models.Q(cancelled_at__lt=models.F("starts_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.starts_at}"
