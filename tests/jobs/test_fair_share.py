"""How long charlie's ten wait behind alice's two hundred on one pod, compared with alone."""

import uuid

import pytest

from modelpilot.accounts.models import User
from modelpilot.jobs import lease
from tests.cast import pod_id, submitted

pytestmark = pytest.mark.django_db(transaction=True)

MANY, FEW = 200, 10


def turns(owner: User, pod: uuid.UUID, limit: int) -> list[int]:
    """In which turn of the pod each of the owner's jobs is claimed, `limit` jobs a turn."""
    found: list[int] = []
    turn = 0
    while len(found) < FEW:
        turn += 1
        claims = lease.claim("echo", pod, limit)
        assert claims, "all were claimed, and some of the owner's are missing"
        found += [turn for claim in claims if claim.owner == owner.id]
    return found


@pytest.mark.parametrize("slots", [1, 4])
def test_two_hundred_of_another_double_the_waiting_and_no_more(
    alice: User, charlie: User, slots: int
) -> None:
    for _ in range(FEW):
        submitted(charlie, price=0)
    alone = turns(charlie, pod_id(), slots)
    for _ in range(MANY):
        submitted(alice, price=0)
    # Alice's have begun to run when charlie comes.
    lease.claim("echo", pod_id(), slots)
    for _ in range(FEW):
        submitted(charlie, price=0)
    beside = turns(charlie, pod_id(), slots)
    # Each in turn with one of alice's, and one of hers is before them.
    for number, (turn, before) in enumerate(zip(beside, alone, strict=True)):
        assert turn <= 2 * before + 1, (number, alone, beside)
