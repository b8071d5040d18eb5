"""Charts: what is drawn is what was counted."""

import re

from hypothesis import given
from hypothesis import strategies as st

from modelpilot.dashboard import chart
from modelpilot.dashboard.chart import HEIGHT, REST, Series
from modelpilot.dashboard.tags import seconds

DAYS = ["Nov 1", "Nov 2", "Nov 3"]
counts = st.lists(st.integers(0, 10**9), min_size=3, max_size=3)
several = st.lists(counts, max_size=8).map(
    lambda rows: [Series(f"model-{number}", row) for number, row in enumerate(rows)]
)
BLOCK = re.compile(r"M(\d+) (-?[\d.]+)h8v([\d.]+)h-8z")


@given(several)
def test_nothing_is_lost_and_all_fits(series: list[Series]) -> None:
    drawn = chart.columns("x", "Requests", DAYS, series)

    total = sum(sum(each.values) for each in series)
    assert sum(int(band.total) for band in drawn.bands) == total
    assert sum(int(cell) for row in drawn.rows for cell in row.cells) == total
    assert len(drawn.bands) <= chart.COLOURS
    assert f"{total} in all" in drawn.description or total == 0
    blocks = [BLOCK.findall(band.path) for band in drawn.bands]
    for x, top, height in (block for found in blocks for block in found):
        assert 0 <= int(x) < drawn.width
        # A hair may stand out.
        assert -5 <= float(top) <= HEIGHT
        assert 0 < float(height) <= HEIGHT


def test_columns_stand_on_each_other() -> None:
    drawn = chart.columns("x", "t", ["a", "b"], [Series("one", [7, 0]), Series("two", [3, 2])])

    assert drawn.top == "10"
    one, two = drawn.bands
    assert BLOCK.findall(one.path) == [("1", "30", "70")]
    assert BLOCK.findall(two.path) == [("1", "0", "30"), ("11", "80", "20")]
    assert drawn.columns[0].text == "a: 10 (one 7, two 3)"
    assert drawn.columns[1].text == "b: two 2"
    assert drawn.description == "a to b: 12 in all, most on a (10)."


def test_the_smallest_are_one() -> None:
    drawn = chart.columns("x", "t", ["a"], [Series(str(n), [n]) for n in range(1, 8)])

    assert [band.name for band in drawn.bands] == ["7", "6", "5", "4", REST]
    assert drawn.bands[-1].total == "6"


def test_a_name_keeps_its_colour_beside() -> None:
    asked = chart.columns("x", "t", ["a"], [Series("big", [9]), Series("small", [1])])
    failed = chart.columns(
        "y", "t", ["a"], [Series("small", [3]), Series("new", [1])], colours=asked.colours
    )

    assert failed.colours == {"small": 2, REST: chart.COLOURS}


def test_without_anything_it_says_so() -> None:
    drawn = chart.columns("x", "t", DAYS, [])

    assert drawn.empty
    assert drawn.description == "Nov 1 to Nov 3: none."


@given(st.floats(1e-6, 1e12))
def test_the_edge_is_a_round_number_above(most: float) -> None:
    edge = chart.ceiling(most)

    assert most * (1 - 1e-6) <= edge <= most * 10.01


def test_parts_are_one_behind_the_other() -> None:
    first, second = chart.parts([("Queued", 1.0), ("Ran", 3.0)], seconds)

    assert (first.x, first.width, first.text) == (0, 250, "1.00 s")
    assert (second.x, second.width) == (250, 750)
    assert chart.parts([], seconds) == []


def test_durations_are_said_as_people_do() -> None:
    assert [seconds(value) for value in (None, 0.0382, 1.2, 12.34, 125, 7260)] == [
        "–",  # noqa: RUF001
        "38 ms",
        "1.20 s",
        "12.3 s",
        "2 min 5 s",
        "2 h 1 min",
    ]
