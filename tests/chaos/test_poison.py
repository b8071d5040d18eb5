"""A request that kills its pod every time."""

from collections.abc import Callable

from tests.api.conftest import NewCaller
from tests.chaos.breaking import LATER, all_ended, assert_all_said, assert_paid, submitted
from tests.system import System


def test_it_fails_after_three_pods_and_the_others_finish(
    system: System, newcomer: NewCaller, record_property: Callable[[str, object], None]
) -> None:
    dora, mallory = newcomer(), newcomer()
    innocent = submitted(dora, 8, tokens=20)
    poison = mallory.chat("[exit]", "echo-slow", headers=LATER).json()["id"]
    [ended] = all_ended(mallory, [poison], 90)
    assert (ended["state"], ended["cost"]) == ("failed", 0)
    assert ended["attempt"] <= 3
    assert ended["error"]["code"] == "pod_died"
    # They ran beside it and lost pods with it, but not all their attempts.
    assert_all_said(all_ended(dora, innocent, 90), tokens=20)
    assert_paid(system, dora, 8)
    assert_paid(system, mallory, 0)
    record_property(
        "reached", f"{ended['attempt']} attempts, failed, charged $0; 8 of 8 others finished"
    )
