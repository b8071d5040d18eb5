"""Money that goes back: the bonus first, then credit, then debt; and all of it back again."""

import pytest

from billing import ledger, payments, purchases, reversals
from billing.models import Purchase, Transfer
from billing.money import micros
from billing.reversals import NotRefundable
from modelpilot.accounts.models import User
from modelpilot.errors import ApiError
from modelpilot.jobs import lease
from modelpilot.jobs.cancel import cancel
from modelpilot.jobs.models import Job
from modelpilot.jobs.submit import submit
from tests.billing.conftest import Buy
from tests.cast import assert_books_prove, at_once, order, pod_id
from tests.fake_stripe.account import StripeAccount

pytestmark = pytest.mark.django_db(transaction=True)


def spend(owner: User, usd: str) -> None:
    submit(order(owner, price=micros(usd)))
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=micros(usd))


def money(owner: User) -> tuple[float, float]:
    """Balance and debt in USD."""
    now = ledger.balance(owner.id)
    return now.balance / 1_000_000, now.debt / 1_000_000


def settle(purchase: Purchase) -> None:
    assert purchase.session is not None
    purchases.fulfil(purchase.session)
    assert_books_prove()


def intent(purchase: Purchase) -> str:
    assert purchase.intent is not None
    return purchase.intent


def test_a_full_refund_takes_the_bonus_too(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)

    reversal = reversals.refund(purchase.id)

    assert money(charlie) == (0, 0)
    assert [(each["id"], each["amount"]) for each in stripe.all("refund")] == [
        (reversal.stripe_id, 1000)
    ]
    settle(purchase)
    assert money(charlie) == (0, 0)


def test_the_bonus_goes_first(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    purchase = bought(charlie.id)
    spend(charlie, "3")

    with pytest.raises(NotRefundable, match=r"At most \$7\.00"):
        reversals.refund(purchase.id)
    reversals.refund(purchase.id, micros("4"))

    assert money(charlie) == (3, 0)
    reversals.refund(purchase.id, micros("3"))
    assert money(charlie) == (0, 0)
    settle(purchase)
    assert stripe.received() == 300


@pytest.mark.parametrize("amount", ["10.01", "0", "-1", "0.001"])
def test_not_more_than_was_paid_and_in_cents(charlie: User, bought: Buy, amount: str) -> None:
    purchase = bought(charlie.id)

    with pytest.raises(NotRefundable):
        reversals.refund(purchase.id, micros(amount))
    assert money(charlie) == (15, 0)


def test_refunds_at_once_never_exceed_what_was_paid(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)

    outcomes = at_once(20, lambda _: reversals.refund(purchase.id, micros("3")))

    assert sum(not isinstance(each, Exception) for each in outcomes) == 3
    assert stripe.received() == 100
    assert money(charlie) == (1, 0)
    settle(purchase)


def test_a_refund_made_at_stripe_is_found(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    spend(charlie, "12")
    refund = stripe.create_refund({"payment_intent": intent(purchase), "amount": 400})

    settle(purchase)
    settle(purchase)

    # 5 of bonus and 4 of payment, of which 3 were there.
    assert money(charlie) == (0, 6)
    stripe.fail_refund(refund["id"])
    settle(purchase)
    assert money(charlie) == (3, 0)


def test_a_debt_is_repaid_first(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    purchase = bought(charlie.id)
    spend(charlie, "15")
    stripe.create_refund({"payment_intent": intent(purchase)})
    settle(purchase)
    assert money(charlie) == (0, 15)

    ledger.grant(charlie.id, micros("1"), ref="g", reason="test")
    assert money(charlie) == (0, 14)
    bought(charlie.id, "20")

    assert money(charlie) == (6, 0)
    assert Transfer.objects.filter(code="repayment").count() == 2
    assert_books_prove()


def test_a_debt_is_collected_from_what_a_job_gives_back(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    submit(order(charlie, price=micros("15")))
    stripe.create_refund({"payment_intent": intent(purchase)})
    settle(purchase)
    assert money(charlie) == (15, 15)
    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.FAILED, charge=0)

    assert ledger.collect_all() == micros("15")

    assert money(charlie) == (0, 0)
    assert_books_prove()


def test_what_comes_free_is_repaid_before_it_is_spent_again(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    held = [submit(order(charlie, price=micros("5"))) for _ in range(3)]
    stripe.create_refund({"payment_intent": intent(purchase), "amount": 300})
    settle(purchase)
    assert money(charlie) == (15, 8)
    cancel(held[0])
    assert money(charlie) == (15, 8)

    with pytest.raises(ApiError, match=r"\$0 of your credit is available.* You owe \$3,"):
        submit(order(charlie, price=micros("1")))

    assert money(charlie) == (10, 3)
    submit(order(charlie, price=0))
    cancel(held[1])
    submit(order(charlie, price=micros("2")))
    assert money(charlie) == (7, 0)
    assert_books_prove()


def test_at_once_nothing_is_held_of_what_is_owed(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    held = submit(order(charlie, price=micros("15")))
    stripe.create_refund({"payment_intent": intent(purchase), "amount": 400})
    settle(purchase)
    cancel(held)

    outcomes = at_once(20, lambda _: submit(order(charlie, price=micros("1"))))

    assert sum(not isinstance(each, Exception) for each in outcomes) == 6
    assert money(charlie) == (6, 0)
    assert_books_prove()


def test_a_debt_is_written_off(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    purchase = bought(charlie.id)
    spend(charlie, "15")
    stripe.withdraw(stripe.dispute(intent(purchase))["id"])
    settle(purchase)
    assert money(charlie) == (0, 15)

    assert ledger.write_off(charlie.id, reason="gone for good") == micros("15")
    assert ledger.write_off(charlie.id, reason="gone for good") == 0

    assert money(charlie) == (0, 0)
    loss = Transfer.objects.get(code="write_off")
    assert (loss.debit.code, loss.note) == ("dispute_loss", "gone for good")
    ledger.grant(charlie.id, micros("1"), ref="g", reason="test")
    assert money(charlie) == (1, 0)
    settle(purchase)


def test_what_stripe_refuses_is_credited_again(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    stripe.dispute(intent(purchase))

    with pytest.raises(payments.Refused, match="charged back"):
        reversals.refund(purchase.id)

    assert money(charlie) == (15, 0)
    settle(purchase)


def test_a_lost_answer_refunds_once(charlie: User, stripe: StripeAccount, bought: Buy) -> None:
    purchase = bought(charlie.id)
    stripe.lose_answers = 1

    reversals.refund(purchase.id, micros("2"))

    assert len(stripe.all("refund")) == 1
    settle(purchase)
    assert money(charlie) == (8, 0)


def test_a_dispute_freezes_claws_back_and_restores(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    dispute = stripe.dispute(intent(purchase))
    settle(purchase)
    assert money(charlie) == (15, 0)
    for price in (micros("1"), 0):
        with pytest.raises(ApiError) as refusal:
            submit(order(charlie, price=price))
        assert (refusal.value.status, refusal.value.code) == (403, "account_frozen")

    stripe.withdraw(dispute["id"])
    settle(purchase)
    assert money(charlie) == (0, 0)
    stripe.reinstate(dispute["id"])
    stripe.close(dispute["id"], won=True)
    settle(purchase)

    assert money(charlie) == (15, 0)
    submit(order(charlie, price=micros("1")))
    assert_books_prove()


def test_a_lost_dispute_stays_frozen_until_an_operator_looks(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    dispute = stripe.dispute(intent(purchase))
    stripe.withdraw(dispute["id"])
    stripe.close(dispute["id"], won=False)
    settle(purchase)
    assert ledger.balance(charlie.id).frozen

    assert ledger.unfreeze(charlie.id) == 1
    settle(purchase)

    assert not ledger.balance(charlie.id).frozen
    assert_books_prove()


def test_a_running_job_of_a_frozen_account_ends_as_ever(
    charlie: User, stripe: StripeAccount, bought: Buy
) -> None:
    purchase = bought(charlie.id)
    submit(order(charlie, price=micros("2")))
    dispute = stripe.dispute(intent(purchase))
    stripe.withdraw(dispute["id"])
    settle(purchase)
    assert money(charlie) == (2, 2)

    (claim,) = lease.claim("echo", pod_id(), 1)
    lease.finish(claim, Job.State.SUCCEEDED, charge=micros("2"))

    assert money(charlie) == (0, 2)
    assert_books_prove()
