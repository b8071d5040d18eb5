"""The table of promises, each with the figure that a run reached: `make proof`.

    python -m tests.proof [--seeds 1,2,3] [--soak 3] [--only 7,11] [--write]

It runs the tests that `tests.promised` names, a storm for each seed, the soak and the mutants,
and prints the table in Markdown; `--write` puts it into docs/promises.md, of `--only` some rows in
the place of what they were. Exit status 1 if a row is not proved: a test failed, was skipped or
is gone, or a promise was broken.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tests.promised import Row, rows

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "promises.md"
BEGIN, END = "<!-- proof: made by `make proof`", "<!-- end of proof -->"
# From a storm's first request to the end of the last job.
STORM_S = 180.0
# Hypothesis takes its own time in a full run.
PYTEST = "-m pytest --full -q -o junit_family=xunit1".split()


@dataclass
class Case:
    """One test as pytest tells of it; `file` as rows name it."""

    file: str
    name: str
    problem: str | None
    reached: list[str] = field(default_factory=list)


def main() -> int:
    arguments = parsed()
    chosen = [row for row in rows() if not arguments.only or row.number in arguments.only]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        prove_by_tests(chosen, Path(folder))
        prove_by_storms(chosen, arguments.seeds, arguments.soak, Path(folder))
        prove_by_mutants(chosen, Path(folder))
    minutes = (time.monotonic() - began) / 60
    said, table = said_of(arguments, minutes), table_of(chosen)
    print(said, "", *table, sep="\n")
    if arguments.write and arguments.only:
        write_again(said, table)
    elif arguments.write:
        write([said, "", *table])
    problems = [f"{row.number}: {problem}" for row in chosen for problem in row.broken]
    print("", *problems, sep="\n")
    return 1 if problems else 0


def parsed() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(each) for each in text.split(",")]

    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3], help="of the storms")
    parser.add_argument("--soak", type=float, default=3.0, help="minutes of row 21")
    parser.add_argument("--only", type=numbers, default=[], help="rows, by their numbers")
    parser.add_argument("--write", action="store_true", help="put the table into docs/promises.md")
    return parser.parse_args()


# By tests


def prove_by_tests(chosen: list[Row], folder: Path) -> None:
    """One pytest for each directory, as each has servers and products of its own."""
    directories: dict[str, set[str]] = defaultdict(set)
    for row in chosen:
        for test in row.tests:
            path = test.partition("::")[0]
            directories[path.rpartition("/")[0] if path.endswith(".py") else path].add(test)
    cases = []
    for number, tests in enumerate(directories.values()):
        cases += cases_of(sorted(tests), folder / f"{number}.xml")
    for row in chosen:
        for test in row.tests:
            note(row, test, cases)


def cases_of(tests: list[str], report: Path) -> list[Case]:
    print(f"pytest {' '.join(tests)}", flush=True)
    command = [sys.executable, *PYTEST, f"--junitxml={report}", *tests]
    subprocess.run(command, cwd=ROOT, check=False)
    return [case_of(each) for each in ET.parse(report).iter("testcase")] if report.exists() else []


def case_of(element: ET.Element) -> Case:
    problems = [child.tag for child in element if child.tag in ("failure", "error", "skipped")]
    return Case(
        element.get("classname", "").replace(".", "/") + ".py",
        element.get("name", ""),
        problems[0] if problems else None,
        [
            str(each.get("value"))
            for each in element.iter("property")
            if each.get("name") == "reached" and each.get("value")
        ],
    )


def note(row: Row, test: str, cases: Iterable[Case]) -> None:
    path, _, name = test.partition("::")
    mine = [
        case
        for case in cases
        if case.file.startswith(path) and name in ("", case.name.partition("[")[0])
    ]
    said = [words for case in mine for words in case.reached]
    row.reached += said or [f"{len(mine)} tests passed"]
    row.broken += [f"{case.file}::{case.name}: {case.problem}" for case in mine if case.problem]
    if not mine:
        row.broken.append(f"{test} is not there")


# By programs


def prove_by_storms(chosen: list[Row], seeds: list[int], minutes: float, folder: Path) -> None:
    stormy = [row for row in chosen if row.figures]
    reports = []
    if stormy:
        reports = [storm(seed, STORM_S / 60, folder / f"{seed}.json") for seed in seeds]
    for row in stormy:
        for name in row.figures:
            values = [str(report["figures"].get(name, "missing")) for report in reports]
            row.reached.append(f"{name}: {' / '.join(dict.fromkeys(values))}")
        if row.number == 1:
            row.reached.append(f"seeds {', '.join(map(str, seeds))}")
            row.broken += [broken for report in reports for broken in report["broken"]]
            took = [report["figures"].get("took", "inf") for report in reports]
            row.broken += [f"it took {each}" for each in took if float(each.split()[0]) > STORM_S]
    for row in chosen:
        if row.soak:
            report = storm(seeds[0], minutes, folder / "soak.json")
            row.broken += report["broken"]
            names = ("took", "books proved", "accepted", "lost", "charged twice")
            row.reached = [f"{name}: {report['figures'].get(name, 'missing')}" for name in names]
            row.reached.append(f"seed {seeds[0]}")


def storm(seed: int, minutes: float, report: Path) -> dict[str, Any]:
    return program("tests.chaos", report, "--seed", str(seed), "--minutes", str(minutes))


def prove_by_mutants(chosen: list[Row], folder: Path) -> None:
    for row in chosen:
        if row.mutants:
            report = program("tests.mutations", folder / "mutants.json")
            row.reached.append(f"{report['figures'].get('mutants killed')} mutants killed")
            row.broken += report["broken"]


def program(module: str, report: Path, *arguments: str) -> dict[str, Any]:
    print(f"python -m {module} {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", module, *arguments, "--report", str(report)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if not report.exists():
        return {
            "figures": {},
            "broken": [f"{module} ended with {done.returncode}, without a report"],
        }
    found: dict[str, Any] = json.loads(report.read_text())
    return found


# The table


def said_of(arguments: argparse.Namespace, minutes: float) -> str:
    seeds = ",".join(map(str, arguments.seeds))
    options = f"--seeds {seeds} --soak {arguments.soak:g}"
    if arguments.only:
        options = f"--only {','.join(map(str, arguments.only))} {options}"
    machine = f"{os.cpu_count()} CPUs ({platform.machine()})"
    return f'By `make proof ARGS="{options}"` on {machine}, in {minutes:.0f} minutes.'


def table_of(chosen: list[Row]) -> list[str]:
    lines = ["| # | What is done | Promised | Reached | |", "|---|---|---|---|---|"]
    for row in chosen:
        reached = "; ".join(map(told, Counter(row.reached).items())).replace("|", "/")
        kept = "**not kept**" if row.broken else "kept"
        lines.append(f"| {row.number} | {row.what} | {row.passes} | {reached} | {kept} |")
    return lines


def told(said: tuple[str, int]) -> str:
    """What several tests reached alike is said once, with their number."""
    words, times = said
    return words if times == 1 else f"{words} ({times} times)"


def write(lines: list[str]) -> None:
    """Put a run of all rows into the page."""
    before, _, after = parts_of(PAGE.read_text())
    PAGE.write_text("\n".join([*before, *lines, *after]))


def write_again(said: str, table: list[str]) -> None:
    """Put rows that were tried alone in the place of what they were, and say so."""
    before, lines, after = parts_of(PAGE.read_text())
    anew = {number_of(line): line for line in table if number_of(line)}
    lines = [anew.get(number_of(line), line) for line in lines]
    rows = ", ".join(anew)
    PAGE.write_text("\n".join([*before, *lines, "", f"Row {rows} again. {said}", *after]))


def number_of(line: str) -> str:
    """The number of a row of the table; nothing for other lines."""
    number = line.removeprefix("| ").partition(" |")[0]
    return number if number.isdigit() else ""


def parts_of(page: str) -> tuple[list[str], list[str], list[str]]:
    """The page's lines before, between and behind the two marks."""
    lines = page.split("\n")
    [begin] = [at for at, line in enumerate(lines) if line.startswith(BEGIN)]
    end = lines.index(END)
    return lines[: begin + 1], lines[begin + 1 : end], lines[end:]


if __name__ == "__main__":
    sys.exit(main())
