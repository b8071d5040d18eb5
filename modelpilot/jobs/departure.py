"""An account that its owner deletes: closed at once, forgotten by housekeeping.

What was booked stays provable: the user's row stays without a name or a way in, and with it the
jobs' rows, prices and times. What the jobs were asked, what they made, addresses, sessions and
the names of keys go. Here, as no room below knows jobs, and the API and pages need both.
"""

import logging
import time
from typing import cast

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.db import transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from billing import ledger, payments, purchases
from billing.models import Purchase, Reversal
from billing.money import usd
from modelpilot.accounts import audit, keys, sessions
from modelpilot.accounts.models import Invitation, User
from modelpilot.jobs import budgets, storage
from modelpilot.jobs.budgets import Period
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.models import Budget, Job, WebhookDelivery, WebhookEndpoint, WebhookSigner

log = logging.getLogger(__name__)

LIVE = (Job.State.QUEUED, Job.State.RUNNING)
BATCH = 100
# A tick of housekeeping has other work, too.
BUDGET_S = 2.0


class Refused(Exception):
    """Why the account can't be deleted now, and what to do, for its owner."""


def obstacle(user: User) -> str | None:
    """What has to be settled before this account can be deleted; None where nothing is."""
    others = User.objects.filter(is_staff=True, is_active=True).exclude(id=user.id)
    if user.is_staff and not others.exists():
        return "You are the only operator. Make another one first, by manage.py account --staff."
    balance = ledger.balance(user.id)
    if balance.frozen or balance.debt:
        return "Your account is frozen or owes something. Ask the operator to settle that first."
    if Purchase.objects.filter(owner=user, state=Purchase.State.PROCESSING).exists():
        return "A payment of yours is on its way. Delete your account once it has arrived."
    return None


@transaction.atomic
def close(user: User) -> None:
    """Delete the account, which can't be undone. Raises Refused where something is in the way.

    From now on no key and no session of it works. Its jobs are cancelled and its content is
    deleted by `erase`.
    """
    user = User.objects.select_for_update().get(id=user.id)
    if user.closed_at is not None:
        return
    if problem := obstacle(user):
        raise Refused(problem)
    for key in user.keys.filter(revoked_at=None):
        keys.revoke(key)
    user.keys.update(name="deleted", previous_digest=None, previous_until=None)
    audit.record("account.delete", user, remaining_usd=usd(ledger.balance(user.id).balance))
    sessions.end_all(user)
    for personal in (EmailAddress, SocialAccount, Authenticator):
        personal.objects.filter(user=user).delete()
    Invitation.objects.filter(email=user.email).delete()
    close_webhooks(user)
    # Nobody is there to be told that money runs out.
    budgets.warn_below(user.id, None)
    for budget in Budget.objects.filter(owner=user):
        budgets.put(user.id, cast("Period", budget.period), None, key=budget.key_id)
    user.email = f"deleted-{user.id}@account.invalid"
    user.is_active = user.is_staff = user.is_superuser = user.can_deploy = False
    user.closed_at = timezone.now()
    user.last_login = None
    user.set_unusable_password()
    user.save()


def close_webhooks(user: User) -> None:
    """Tell nobody about jobs of the account any more."""
    WebhookEndpoint.objects.filter(owner=user).update(
        enabled=False,
        deleted_at=timezone.now(),
        disabled_reason="Deleted.",
        url="",
        secret="",
        previous_secret=None,
    )
    WebhookSigner.objects.filter(owner=user).delete()
    Job.objects.filter(owner=user, state__in=LIVE).update(webhook=None)
    WebhookDelivery.objects.filter(owner=user, state=WebhookDelivery.State.PENDING).update(
        state=WebhookDelivery.State.FAILED, last_error="The account was deleted."
    )


def erase(budget_s: float = BUDGET_S) -> int:
    """Go on deleting what closed accounts had asked and got; how many are done now."""
    until = time.monotonic() + budget_s
    done = 0
    for user in User.objects.filter(closed_at__isnull=False, erased_at=None).order_by("id"):
        if not forget(user, until):
            continue
        User.objects.filter(id=user.id).update(erased_at=timezone.now())
        done += 1
    return done


def forget(user: User, until: float) -> bool:
    """Whether nothing is left of the account's content; it stops at the moment `until`."""
    if payments.configured():
        try:
            purchases.call_off(user.id)
        except payments.Unavailable:
            return False
    live = Job.objects.filter(owner=user, state__in=LIVE)
    for queued in live.values_list("id", flat=True)[:BATCH]:
        cancel(queued)
    while time.monotonic() < until:
        ended = Job.objects.filter(owner=user).exclude(state__in=LIVE).exclude(request={})
        # Only what is needed: what was uploaded may be megabytes each.
        batch = list(ended.order_by("id").only("id")[:BATCH])
        for job in batch:
            Job.objects.filter(id=job.id).update(
                webhook=None, idempotency_key=None, body_digest=None
            )
            storage.delete_content(job)
        if not batch:
            if live.exists():
                return False
            WebhookDelivery.objects.filter(owner=user).delete()
            return True
    return False


def paid_too_late() -> list[str]:
    """Purchases that were paid when their accounts were closed, and not refunded; a sentence each.

    Checkouts are called off, but somebody may pay at that very moment.
    """
    late = Purchase.objects.filter(
        state=Purchase.State.PAID, paid_at__gt=F("owner__closed_at")
    ).annotate(
        gone=Sum("reversals__amount", filter=Q(reversals__stage=Reversal.Stage.TAKEN), default=0)
    )
    return [
        f"purchase {purchase.id} was paid after its account was deleted: refund it."
        for purchase in late.filter(gone__lt=F("amount"))
    ]
