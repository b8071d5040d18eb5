"""An installation of 0.2.0: as git has it, or as a small fixture that was made of that.

The fixture beside this file is a database (`database.sql`), its outputs, its secret and what must
be kept (`facts.json`), all of a throw-away installation. `python -m tests.upgrade` makes it anew.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from modelpilot import embedded
from modelpilot.keeper import postgres_programs
from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.server import serving
from tests.system import ROOT, System
from tests.upgrade import history
from tests.upgrade.history import COMMIT, Facts

FIXTURE = Path(__file__).with_name("0.2.0")
# As if the upgrade had taken a minute, and not the time since the fixture was made.
JUST_NOW = """
UPDATE jobs_job SET deadline_at = now() + interval '9 minutes', lease_until = now()
WHERE state IN ('queued', 'running')
"""


def in_history() -> bool:
    """Whether this checkout has that version: a shallow one has not."""
    found = subprocess.run(
        ["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return found.returncode == 0


@contextmanager
def checked_out(folder: Path) -> Iterator[Path]:
    """The code of that version."""
    subprocess.run(
        ["git", "worktree", "add", "--detach", str(folder), COMMIT],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    try:
        yield folder
    finally:
        remove = ["git", "worktree", "remove", "--force", str(folder)]
        subprocess.run(remove, cwd=ROOT, check=True)


def lived(folder: Path) -> tuple[System, Facts]:
    """A data directory that the old version made and was killed on, with work under way."""
    stripe = StripeAccount()
    with checked_out(folder / "code") as code, serving(stripe) as base:
        old = System(folder / "data", history.settings(base), root=code)
        try:
            facts = history.live(old.start(), stripe)
        finally:
            old.kill()
    return old, facts


@contextmanager
def database(data: Path) -> Iterator[str]:
    """The embedded PostgreSQL of a data directory on which nothing else runs; its URL."""
    servers = embedded.Servers(data, valkey=False)
    servers.start()
    try:
        yield embedded.database_url(data)
    finally:
        servers.stop()


def keep(data: Path, facts: Facts) -> None:
    """Make the fixture of a data directory."""
    shutil.rmtree(FIXTURE, ignore_errors=True)
    FIXTURE.mkdir()
    with database(data) as url:
        options = ["--no-owner", "--no-privileges", "--schema=public", f"--dbname={url}"]
        program = postgres_programs() / "bin" / "pg_dump"
        subprocess.run([program, *options, f"--file={FIXTURE / 'database.sql'}"], check=True)
    shutil.copytree(data / "outputs", FIXTURE / "outputs")
    shutil.copy(data / "secret-key", FIXTURE)
    facts.write(FIXTURE / "facts.json")


def unpack(data: Path) -> Facts:
    """Make a data directory of the fixture, as the old version left it."""
    data.mkdir(parents=True)
    shutil.copy(FIXTURE / "secret-key", data)
    (data / "secret-key").chmod(0o600)
    shutil.copytree(FIXTURE / "outputs", data / "outputs")
    with database(data) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public")
        options = ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--dbname={url}"]
        program = postgres_programs() / "bin" / "psql"
        subprocess.run(
            [program, *options, f"--file={FIXTURE / 'database.sql'}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(JUST_NOW)
    return Facts.read(FIXTURE / "facts.json")
