"""The operator's account of the first run: made without a password, finished by a link."""

from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core import signing
from django.db import transaction

from billing import ledger
from billing.money import micros
from modelpilot.accounts import audit, keys
from modelpilot.accounts.models import User

SALT = "modelpilot.setup"
# Who the operator is until the link was used.
EMAIL = "operator@localhost"
# Enough to try everything; it is the operator's own machine.
CREDIT = micros("10")


@dataclass(frozen=True, slots=True)
class FirstRun:
    """`key` is set when the account was made just now: it can't be shown again."""

    key: str | None
    setup_url: str


def first_run() -> FirstRun | None:
    """Make the operator's account and key, and the link that finishes the account.

    None once it is finished, or where another operator was made by command.
    """
    with transaction.atomic():
        operators = User.objects.filter(is_staff=True)
        unfinished = operators.filter(email=EMAIL).first()
        if unfinished is not None and not unfinished.has_usable_password():
            return FirstRun(None, setup_url(unfinished))
        if operators.exists():
            return None
        operator = User.objects.create_superuser(EMAIL, can_deploy=True)
        ledger.grant(operator.id, CREDIT, ref="first-run", reason="first run")
        return FirstRun(keys.create(operator, name="first run"), setup_url(operator))


def setup_url(operator: User) -> str:
    """Where the operator sets e-mail and password; it works until that is done."""
    return f"{settings.SITE_URL}/setup/{signing.dumps(operator.id, salt=SALT)}"


def operator_of(token: str) -> User | None:
    """The operator whose account this link finishes, as long as it has no password."""
    try:
        user_id = signing.loads(token, salt=SALT)
    except signing.BadSignature:
        return None
    user = User.objects.filter(id=user_id).first()
    return None if user is None or user.has_usable_password() else user


@transaction.atomic
def finish(operator: User, email: str, password: str) -> None:
    """Who has the link has the machine: the address needs no mail to be believed."""
    operator.email = email.lower()
    operator.set_password(password)
    operator.save(update_fields=["email", "password"])
    EmailAddress.objects.create(user=operator, email=operator.email, verified=True, primary=True)
    audit.record("account.setup", operator)
