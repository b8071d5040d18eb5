"""The books, in the shape of TigerBeetle: accounts, and transfers that only ever append.

Money moves from the account that a transfer debits to the one it credits. A `pending`
transfer sets money aside; exactly one `post` (takes some or all of it) or `void`
(gives it back) resolves it. Only users' accounts keep counters: a counter on
`revenue` would be one hot row for everybody, and a sum of transfers says the same.
"""

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

    debit = models.ForeignKey(Account, models.PROTECT, related_name="debits")
    credit = models.ForeignKey(Account, models.PROTECT, related_name="credits")
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
        constraints = [
            models.UniqueConstraint("code", "ref", name="booked_once"),
            models.CheckConstraint(name="amount_positive", condition=models.Q(amount__gt=0)),
            models.CheckConstraint(
                name="only_resolutions_name_a_pending",
                condition=models.Q(kind__in=["post", "void"], pending__isnull=False)
                | models.Q(kind__in=["single", "pending"], pending__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.code} {self.ref}: {self.amount}"
