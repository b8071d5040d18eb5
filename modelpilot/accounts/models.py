"""Users, their API keys, who may become one, and what was changed by whom."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)  # None makes it unusable
        user.save()
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    email = models.EmailField(unique=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    can_deploy = models.BooleanField(default=False)
    # Signed up, and not active until an operator approves: see registration.py.
    waiting = models.BooleanField(default=False, db_default=False)
    # Deleted by its owner at that time; the row stays, without a name, for the books.
    closed_at = models.DateTimeField(null=True)
    # All that its jobs were asked and had made is gone too.
    erased_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["id"],
                name="users_to_erase",
                condition=models.Q(closed_at__isnull=False, erased_at__isnull=True),
            ),
            models.Index(fields=["id"], name="users_waiting", condition=models.Q(waiting=True)),
        ]

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return self.email


class Permission(models.TextChoices):
    """What a key may do; a browser session may do all of it."""

    READ = "read"
    PROXY = "proxy"
    GENERATE = "generate"


class ApiKey(models.Model):
    user = models.ForeignKey(User, models.CASCADE, related_name="keys")
    name = models.CharField(max_length=100)
    # HMAC-SHA256 of the key: the key itself is shown once and never stored.
    digest = models.BinaryField(max_length=32, unique=True)
    last_four = models.CharField(max_length=4)
    # After a rotation the key of before works until then.
    previous_digest = models.BinaryField(max_length=32, null=True, unique=True)
    previous_until = models.DateTimeField(null=True)
    permissions = ArrayField(models.CharField(max_length=20, choices=Permission.choices))
    # The models that this key may call; null means all.
    allowed_models = ArrayField(models.CharField(max_length=100), null=True)
    # Calls that look do not count; null means that only the client's address is limited.
    requests_per_minute = models.PositiveIntegerField(null=True)
    # Jobs queued and running at once; null means as many as the account may have.
    concurrency = models.PositiveIntegerField(null=True)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.name} (…{self.last_four})"


class Registration(models.Model):
    """Who may make an account: one row, or none while the default holds."""

    class Mode(models.TextChoices):
        OPEN = "open", "Everybody"
        APPROVAL = "approval", "Everybody, once an operator has approved"
        INVITE = "invite", "Who has an invitation"

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    mode = models.CharField(max_length=10, choices=Mode.choices)

    class Meta:
        verbose_name_plural = "registration"
        constraints = [models.CheckConstraint(name="one_registration", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return self.get_mode_display()


class Invitation(models.Model):
    """A link that lets whoever has it make one account."""

    # Whom it was made for; another address may be used with it, but has to be verified.
    email = models.EmailField()
    # SHA-256 of what the link ends with: a stolen table lets nobody in.
    digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    used_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        return f"invitation of {self.email}"


class AuditEntry(models.Model):
    """One thing that was changed by somebody; it names accounts as they were called then."""

    at = models.DateTimeField(db_default=Now())
    # The e-mail address at that time, or the name of a command.
    actor = models.CharField(max_length=254)
    actor_id = models.BigIntegerField(null=True)
    key_id = models.BigIntegerField(null=True)
    address = models.GenericIPAddressField(null=True)
    action = models.CharField(max_length=60)
    subject = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)

    class Meta:
        verbose_name_plural = "audit log"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["-at", "-id"], name="audit_newest_first"),
            models.Index(fields=["action", "-at"], name="audit_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.actor} {self.action} {self.subject}"
