"""Today's code on the data directory of 0.2.0: nothing is lost, and what was under way ends."""

from pathlib import Path
from typing import Any

import pytest

from tests.leftovers import assert_nothing_runs
from tests.system import System, product
from tests.upgrade import past
from tests.upgrade.history import Facts, assert_kept

# What it made is older than what is kept for so long.
KEEP = {"MODELPILOT_OUTPUT_DAYS": "0", "MODELPILOT_WEBHOOK_HTTP_HOSTS": "127.0.0.1"}


def upgraded(system: System, facts: Facts) -> str:
    system.start()
    looked_at = assert_kept(system, facts)
    status = system.manage("doctor")
    assert "fail" not in status
    return looked_at


def test_from_the_fixture(record_property: Any) -> None:
    with product(**KEEP) as system:
        record_property("reached", upgraded(system, past.unpack(system.data)))


def test_with_mail_the_operator_signs_in_all_the_same(tmp_path: Path) -> None:
    mail = f"file://{tmp_path}"
    with product(**KEEP, MODELPILOT_EMAIL_URL=mail) as system:
        upgraded(system, past.unpack(system.data))


@pytest.mark.skipif(not past.in_history(), reason="a shallow checkout; the fixture was tested")
def test_from_a_directory_on_which_0_2_0_was_killed(tmp_path: Path, record_property: Any) -> None:
    old, facts = past.lived(tmp_path)
    new = System(old.data, KEEP, port=old.port)
    try:
        record_property("reached", upgraded(new, facts))
        new.stop()
    finally:
        new.kill()
    assert_nothing_runs(old.data)
