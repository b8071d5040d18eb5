"""Redeem codes: worth what they say, once per account, as often as they may."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing import codes, ledger
from billing.models import RedeemCode
from billing.money import micros
from modelpilot.accounts.models import User
from tests.cast import assert_books_prove, at_once, member

pytestmark = pytest.mark.django_db(transaction=True)

FIVE = micros("5")


def test_a_code_is_worth_what_it_says_once(alice: User, charlie: User) -> None:
    code = codes.create(FIVE, note="for friends")

    assert codes.redeem(charlie.id, code) == FIVE

    assert ledger.balance(charlie.id).available == FIVE
    for again in (charlie, alice):
        with pytest.raises(codes.InvalidCode):
            codes.redeem(again.id, code)
    assert_books_prove()


def test_it_is_read_as_people_write_it(charlie: User) -> None:
    code = codes.create(FIVE)
    written = code.lower().replace("0", "o").replace("1", "l").replace("-", " ")

    assert codes.redeem(charlie.id, f" {written} ") == FIVE


def test_it_is_not_stored(charlie: User) -> None:
    code = codes.create(FIVE)

    row = RedeemCode.objects.values().get()

    plain = codes.plain(code).encode()
    assert not any(
        plain in (bytes(v) if isinstance(v, memoryview) else str(v).encode()) for v in row.values()
    )
    assert code.endswith(row["last_four"])


def test_many_may_share_one_each_once(books: None) -> None:
    code = codes.create(FIVE, uses=3)
    owners = [member(f"friend{number}") for number in range(8)]

    outcomes = at_once(24, lambda number: codes.redeem(owners[number % 8].id, code))

    assert sum(each == FIVE for each in outcomes) == 3
    refusals = (codes.InvalidCode, codes.AlreadyRedeemed)
    assert sum(isinstance(each, refusals) for each in outcomes) == 21
    assert sum(ledger.balance(owner.id).available for owner in owners) == 3 * FIVE
    assert RedeemCode.objects.get().uses == 3
    assert_books_prove()


def test_one_account_can_not_take_it_twice(charlie: User) -> None:
    code = codes.create(FIVE, uses=3)
    codes.redeem(charlie.id, code)

    with pytest.raises(codes.AlreadyRedeemed):
        codes.redeem(charlie.id, code)

    assert RedeemCode.objects.get().uses == 1
    assert_books_prove()


def test_it_ends(charlie: User) -> None:
    over = codes.create(FIVE, expires_at=timezone.now() - timedelta(seconds=1))
    revoked = codes.create(FIVE)
    row = RedeemCode.objects.get(last_four=revoked[-4:])
    assert codes.revoke(row.id)
    assert not codes.revoke(row.id)

    for code in (over, revoked, "MP-0000-0000-0000-0000", "", "x"):
        with pytest.raises(codes.InvalidCode):
            codes.redeem(charlie.id, code)
    assert ledger.balance(charlie.id).available == 0
