"""Take a guard away, and see that the tests fail: `make mutations`.

    python -m tests.mutations [--only WORDS] [--report FILE]

Each of `tests.mutants` is made in a copy of the source in a temporary folder. Exit status 1 if
one survives, that is, if the tests that it names pass all the same; 2 if they fail without it.
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.embedded_servers import forget_the_developers_environment
from tests.mutants import MUTANTS, Edit, Mutant

ROOT = Path(__file__).parent.parent
COPIED = ("billing", "modelpilot", "tests")
LINKED = (
    "inference", "docs", "static", "templates", "examples", "pyproject.toml", "CHANGELOG.md",
    "README.md",
)  # fmt: skip
PYTEST = "-m pytest -x -q --no-header --tb=short -p no:cacheprovider".split()
TIMEOUT_S = 240.0
LAST_LINES = 6


@dataclass
class Outcome:
    mutant: Mutant
    # The end of what pytest said; empty for one that survived.
    failure: list[str]
    seconds: float


def main() -> int:
    arguments = parsed()
    forget_the_developers_environment()
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.name]
    if stale := [mutant.name for mutant in chosen if not all(map(applies, mutant.edits))]:
        print("The source has changed under these mutants:", *stale, sep="\n    ")
        return 2
    workers = min(os.cpu_count() or 1, len(chosen))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(workers):
            copies.put(copy_of_the_source(Path(folder) / str(number)))
        unharmed = copies.get()
        if said := failure_of(unharmed, sorted({test for each in chosen for test in each.tests})):
            print("The tests fail without any mutation:", *said, sep="\n    ")
            return 2
        copies.put(unharmed)

        def tried(mutant: Mutant) -> Outcome:
            copy = copies.get()
            began = time.monotonic()
            try:
                outcome = Outcome(mutant, tried_in(copy, mutant), time.monotonic() - began)
            finally:
                copies.put(copy)
            show(outcome)
            return outcome

        with ThreadPoolExecutor(workers) as threads:
            outcomes = list(threads.map(tried, chosen))
    return conclude(outcomes, arguments.report)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", default="", help="those with these words in their name")
    parser.add_argument("--report", type=Path, help="where the outcome goes as JSON")
    return parser.parse_args()


def copy_of_the_source(folder: Path) -> Path:
    folder.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)
    # Not a link: Python would take everything from where that leads.
    shutil.copy(ROOT / "manage.py", folder)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def tried_in(copy: Path, mutant: Mutant) -> list[str]:
    """How the mutant's tests fail; a copy is as before afterwards."""
    changed = [change(copy, edit) for edit in mutant.edits]
    migration = migrate_at_last(copy, mutant.sql) if mutant.sql else None
    try:
        return failure_of(copy, list(mutant.tests))
    finally:
        for path, text in reversed(changed):
            write(path, text)
        if migration:
            migration.unlink()


def applies(edit: Edit) -> bool:
    return (ROOT / edit.file).read_text().count(edit.before) == 1


def change(copy: Path, edit: Edit) -> tuple[Path, str]:
    """The file, and what was in it before."""
    path = copy / edit.file
    text = path.read_text()
    write(path, text.replace(edit.before, edit.after))
    return path, text


def write(path: Path, text: str) -> None:
    path.write_text(text)
    # Python would believe a compiled file of the same second.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def migrate_at_last(copy: Path, statement: str) -> Path:
    """A migration that runs the statement after all others."""
    last = {
        app: max(path.stem for path in (copy / folder).glob("0*.py"))
        for app, folder in (
            ("billing", "billing/migrations"),
            ("jobs", "modelpilot/jobs/migrations"),
        )
    }
    migration = copy / "billing" / "migrations" / "9999_mutant.py"
    migration.write_text(
        "from django.db import migrations\n"
        "class Migration(migrations.Migration):\n"
        f"    dependencies = {list(last.items())}\n"
        f"    operations = [migrations.RunSQL({statement!r})]\n"
    )
    return migration


def failure_of(copy: Path, tests: list[str]) -> list[str]:
    """The last lines of the tests' output if they fail; none if they pass."""
    # Nothing is compiled again while files change.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *PYTEST, *tests],
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S * max(1, len(tests) / 4),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ["The tests did not end."]
    if done.returncode == 0:
        return []
    lines = [
        line for line in done.stdout.splitlines() if line.startswith(("E  ", "FAILED", "ERROR"))
    ]
    return lines[-LAST_LINES:] or (done.stdout + done.stderr).splitlines()[-LAST_LINES:]


def show(outcome: Outcome) -> None:
    fate = "killed" if outcome.failure else "SURVIVED"
    lines = [f"{fate} in {outcome.seconds:.0f} s: {outcome.mutant.name}", *outcome.failure]
    print("\n    ".join(line[:160] for line in lines), flush=True)


def conclude(outcomes: list[Outcome], report: Path | None) -> int:
    survivors = [outcome.mutant.name for outcome in outcomes if not outcome.failure]
    killed = f"{len(outcomes) - len(survivors)} of {len(outcomes)}"
    print(f"\n{killed} mutants were killed.", *survivors, sep="\n    ")
    if report:
        figures = {
            "mutants killed": killed,
            "failures": {each.mutant.name: each.failure for each in outcomes},
        }
        broken = [f"It survives: {name}" for name in survivors]
        report.write_text(json.dumps({"figures": figures, "broken": broken}, indent=2))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
