"""Durations as people write them."""

import pytest

from modelpilot import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("2m", 120), ("24h", 86400), ("30d", 2592000), (" 5s ", 5), ("0", 0)],
)
def test_it_reads_a_duration(text: str, seconds: int) -> None:
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1.5", "5 s", "s", "5w", "1h30m", "٣", "1" * 12, "NaN", "1e3"]
)
def test_it_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        durations.seconds(text)
