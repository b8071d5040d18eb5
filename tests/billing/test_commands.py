"""What the operator types about money."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from billing import codes, ledger
from billing.models import RedeemCode
from billing.money import micros
from modelpilot.accounts.models import User
from tests.billing.conftest import Buy
from tests.billing.test_reversals import spend
from tests.fake_stripe.account import StripeAccount

pytestmark = pytest.mark.django_db(transaction=True)


def said(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_refund(charlie: User, bought: Buy) -> None:
    purchase = bought(charlie.id)

    assert "$4.00 are refunded (re_" in said("refund", str(purchase.id), "--amount=4")
    with pytest.raises(CommandError, match=r"At most \$6\.00"):
        said("refund", str(purchase.id), "--amount=6.01")
    assert "The account has $0.00 available" in said("refund", str(purchase.id))


def test_refund_while_stripe_is_away(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    purchase = bought(charlie.id)
    stripe.lose_requests = 3

    with pytest.raises(CommandError, match="reconcile"):
        said("refund", str(purchase.id))

    assert ledger.balance(charlie.id).balance == 0


def test_codes(charlie: User, stripe: StripeAccount) -> None:
    one, other = said("codes", "create", "5.00", "--count=2", "--uses=2", "--days=3").split()
    assert codes.redeem(charlie.id, one) == micros("5")

    listed = said("codes", "list")
    assert one not in listed
    assert f"…{one[-4:]} $5.00 1/2 until " in listed
    row = RedeemCode.objects.get(last_four=other[-4:])
    said("codes", "revoke", str(row.id))
    assert f"…{other[-4:]} $5.00 0/2 revoked" in said("codes", "list")
    for wrong in ("0", "-1", "x", "NaN"):
        with pytest.raises(CommandError):
            said("codes", "create", "--", wrong)


def test_the_ledger_adds_up(charlie: User, bought: Buy) -> None:
    bought(charlie.id)
    spend(charlie, "0.5")

    head, *moves, last = said("ledger", charlie.email).splitlines()
    assert head.split() == ["when", "(UTC)", "what", "moved", "balance", "about"]

    assert [(line.split()[2], line.split()[4]) for line in moves] == [
        ("topup", "10.000000"),
        ("bonus", "15.000000"),
        ("charge", "14.500000"),
    ]
    assert last == f"{charlie.email}: balance $14.5, held $0, debt $0"


def test_freezing_and_thawing(charlie: User) -> None:
    assert "looks odd" in said("freeze", charlie.email, "--reason=looks odd")
    assert ledger.balance(charlie.id).frozen
    assert "1 freezes" in said("freeze", charlie.email, "--lift")
    assert not ledger.balance(charlie.id).frozen
    with pytest.raises(CommandError, match="no account"):
        said("freeze", "nobody@example.com")


def test_reconcile(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    bought(charlie.id)
    assert said("reconcile") == "Stripe and the ledger agree.\nThe books are proved.\n"
    stripe.lose_requests = 9

    errors = StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("reconcile", stderr=errors)

    assert exit_.value.code == 1
    assert "Stripe can't be asked" in errors.getvalue()
