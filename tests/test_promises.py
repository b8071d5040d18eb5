"""What proves our promises is still there: the tests by their names, the guards in the source."""

from pathlib import Path

import pytest

from tests.mutants import MUTANTS, Mutant
from tests.promised import Row, rows

ROOT = Path(__file__).parent.parent


def is_there(test: str) -> bool:
    path, _, name = test.partition("::")
    file = ROOT / path
    return file.exists() and (not name or f"def {name}(" in file.read_text())


@pytest.mark.parametrize("row", rows(), ids=lambda row: str(row.number))
def test_a_row_names_tests_that_exist(row: Row) -> None:
    assert [test for test in row.tests if not is_there(test)] == []


def test_there_are_twenty_one() -> None:
    assert [row.number for row in rows()] == list(range(1, 22))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_takes_away_what_is_there(mutant: Mutant) -> None:
    for edit in mutant.edits:
        assert (ROOT / edit.file).read_text().count(edit.before) == 1
    assert [test for test in mutant.tests if not is_there(test)] == []
