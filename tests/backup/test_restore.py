"""Backing up a product that works, and restoring it elsewhere: nothing dangles, all is proved.

Through the commands that an operator types, on products of their own.
"""

import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from modelpilot import embedded
from modelpilot.backup import archive
from tests.api.caller import Caller
from tests.leftovers import assert_nothing_runs, eventually
from tests.system import ROOT, System, product

LATER = {"Prefer": "respond-async"}
CARD = """
[echo-mine]
kind = "text"
engine = "echo"
name = "The operator's own"
licence = "none"
memory_mb = 50
price = "0.002"
slots = 4
context = 4096
load_seconds = 0.5
run_seconds = 0.1
"""


def commanded(system: System, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=system.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def refused(system: System, *words: str) -> str:
    done = commanded(system, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def original() -> Iterator[System]:
    """A product with a history of every sort, that stays up."""
    with product() as system:
        system.data.mkdir()
        (system.data / "catalog.toml").write_text(CARD)
        yield system.start()


@pytest.fixture(scope="module")
def alice(original: System) -> Caller:
    return Caller(original.base_url, original.account("alice@example.com", "100"))


@contextmanager
def elsewhere(**env: str) -> Iterator[System]:
    """Another data directory, with nothing in it."""
    with product(**env) as system:
        yield system


@contextmanager
def busy(caller: Caller) -> Iterator[None]:
    """Somebody who makes and deletes things without a pause."""
    over = threading.Event()

    def live(number: int) -> None:
        while not over.is_set():
            spoken = caller.post(
                "generate/audio", {"model": "piper-joe", "text": f"Number {number}."}
            )
            assert spoken.status_code in (200, 202), spoken.text
            caller.chat(f"hello {number}")
            caller.chat(f"bye {number}", "echo-slow", max_tokens=5, headers=LATER)
            if number % 2:
                job = caller.newest_job()["id"]
                caller.send("DELETE", f"jobs/{job}")

    with ThreadPoolExecutor(4) as threads:
        living = [threads.submit(live, number) for number in range(4)]
        try:
            yield
        finally:
            over.set()
        for each in living:
            each.result()


def spoken(caller: Caller, text: str) -> str:
    """The id of a job that has made a file."""
    answer = caller.post("generate/audio", {"model": "piper-joe", "text": text})
    assert answer.status_code == 200, answer.text
    return str(uuid.UUID(answer.json()["id"].removeprefix("gen_")))


def rows(system: System, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(embedded.database_url(system.data), autocommit=True) as connection:
        return connection.execute(query).fetchall()


JOBS = """
SELECT id, owner_id, state, cost, price, request::text, result::text, error::text
FROM jobs_job WHERE state NOT IN ('queued', 'running') ORDER BY id
"""
OUTPUTS = "SELECT id, job_id, path, bytes FROM jobs_output ORDER BY id"


def outputs(system: System) -> dict[str, bytes]:
    """The content of every output that a row names, which must be there."""
    return {
        path: (system.data / "outputs" / path).read_bytes()
        for _, _, path, _ in rows(system, OUTPUTS)
    }


def test_under_load_to_another_directory(
    original: System, alice: Caller, tmp_path: Path, record_property: Any
) -> None:
    original.manage("price", "set", "echo-mine", "0.003", "--reason", "test")
    code = original.manage("codes", "create", "7.00").split()[-1]
    assert alice.chat("a b", "echo-mine").json()["x_modelpilot"]["cost"] == 0.003
    alice.post("generate/image", {"model": "emoji-64", "prompt": "a red apple", "steps": 4})
    long = alice.chat("on and on", "echo-slow", max_tokens=400, headers=LATER).json()["id"]
    alice.running(long)
    path = tmp_path / "backup.tar"
    with busy(alice):
        eventually(lambda: len(rows(original, JOBS)) > 20)
        said = original.manage("backup", str(path))
        time.sleep(1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert said.startswith(f"{path}: ")
    assert "missing" not in said
    later = alice.chat("too late").json()["x_modelpilot"]["job_id"]

    with elsewhere() as copy:
        said = copy.manage("restore", str(path))
        assert "The books are proved." in said
        assert (copy.data / "catalog.toml").read_text() == CARD
        copy.start()
        again = Caller(copy.base_url, alice.key)
        compare(original, copy)
        # The account's balance is what its jobs have left of it.
        assert again.job(later).get("error", {}).get("code") == "job_not_found"
        # What was under way is run again, or over.
        ended = again.ended(long, 120)
        assert ended["state"] == "succeeded", ended
        eventually(lambda: again.held() == 0, 60)
        assert again.post("billing/redeem", {"code": code}).status_code == 200
        assert again.chat("a b", "echo-mine").json()["x_modelpilot"]["cost"] == 0.003
        assert "The books are proved." in copy.manage("reconcile")
        record_property(
            "reached", f"{len(rows(copy, JOBS))} jobs and {len(outputs(copy))} outputs restored"
        )


def compare(original: System, copy: System) -> None:
    """What had ended by the backup is the same, but for what was deleted since."""
    ours, theirs = rows(original, JOBS), rows(copy, JOBS)
    kept = {row[0]: row for row in ours}
    assert len(theirs) > 15
    different = [row for row in theirs if kept[row[0]] != row]
    # Deleted afterwards in the original: the same row, without what was asked and made.
    assert all(kept[row[0]][5] == "{}" for row in different), different
    mine, made = outputs(original), outputs(copy)
    assert len(made) > 3
    assert {path: content for path, content in made.items() if path in mine} == {
        path: mine[path] for path in made if path in mine
    }
    for _, _, path, size in rows(copy, OUTPUTS):
        assert len(made[path]) == size


def test_what_is_deleted_while_the_backup_runs_is_deleted_by_the_restore(
    original: System, alice: Caller, tmp_path: Path
) -> None:
    stays, goes = spoken(alice, "I stay."), spoken(alice, "I go.")
    # As if it had been deleted between the database's snapshot and its file's turn.
    path = tmp_path / "backup.tar"
    program = (
        "from pathlib import Path\n"
        "from django.db import connection\n"
        "from modelpilot.backup import take\n"
        "before = take.add_outputs\n"
        "def deleting(writer, taken):\n"
        "    import threading\n"
        "    from modelpilot.jobs import storage\n"
        "    from modelpilot.jobs.models import Job\n"
        "    def delete():\n"
        f"        storage.delete_content(Job.objects.get(id='{goes}'))\n"
        "        connection.close()\n"
        "    thread = threading.Thread(target=delete)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    yield from before(writer, taken)\n"
        "take.add_outputs = deleting\n"
        f"print(take.take(Path('{path}')))\n"
    )
    said = original.manage("shell", "--no-imports", "-c", program)
    assert "missing=[]" in said
    with archive.opened(path) as opened:
        assert opened.json("deleted.json") == [goes]
    with elsewhere() as copy:
        copy.manage("restore", str(path))
        copy.start()
        again = Caller(copy.base_url, alice.key)
        assert len(again.job(stays)["outputs"]) == 1
        assert again.job(goes)["outputs"] == []
        assert again.job(goes)["request"] == {}
        outputs(copy)


def test_a_file_that_was_missing_before_is_told_and_nothing_is_deleted_for_it(
    original: System, alice: Caller, tmp_path: Path
) -> None:
    job = spoken(alice, "Lost.")
    (lost,) = [each for each in rows(original, OUTPUTS) if str(each[1]) == job]
    (original.data / "outputs" / lost[2]).unlink()
    done = commanded(original, "backup", str(tmp_path / "backup.tar"))
    assert (done.returncode, done.stderr.count("missing")) == (0, 1)
    assert lost[2] in done.stderr
    with archive.opened(tmp_path / "backup.tar") as opened:
        assert opened.json("deleted.json") == []
    alice.send("DELETE", f"jobs/{job}")


def test_what_is_refused(original: System, alice: Caller, tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    original.manage("backup", str(path))
    assert f"{path} is there already" in refused(original, "backup", str(path))
    assert "No such file" in refused(original, "backup", str(tmp_path / "no" / "backup.tar"))
    # Where a product runs.
    assert "runs already" in refused(original, "restore", str(path), "--force")
    with elsewhere() as copy:
        cut = tmp_path / "cut.tar"
        cut.write_bytes(path.read_bytes()[:-20_000])
        assert str(cut) in refused(copy, "restore", str(cut))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        cut.write_bytes(content)
        assert f"{cut} was changed" in refused(copy, "restore", str(cut))
        assert not (copy.data / "postgres").exists()
        copy.manage("restore", str(path))
        assert "is in use" in refused(copy, "restore", str(path))
        wrong = System(copy.data, {"MODELPILOT_SECRET_KEY": "x" * 40}, port=copy.port)
        said = refused(wrong, "restore", str(path), "--force")
        assert "made with another secret" in said
        # Set aside, and not deleted.
        assert "What was there before" in copy.manage("restore", str(path), "--force")
        (aside,) = copy.data.glob("replaced-*")
        assert {each.name for each in aside.iterdir()} >= {"postgres", "outputs", "secret-key"}


def test_into_a_database_of_ones_own(original: System, alice: Caller, tmp_path: Path) -> None:
    """DATABASE_URL names another server, and REDIS_URL, too."""
    path = tmp_path / "backup.tar"
    original.manage("backup", str(path))
    servers = embedded.Servers(tmp_path / "servers")
    servers.start()
    try:
        theirs = {
            "DATABASE_URL": embedded.database_url(tmp_path / "servers"),
            "REDIS_URL": embedded.redis_url(tmp_path / "servers"),
        }
        with elsewhere(**theirs) as copy:
            copy.manage("restore", str(path))
            copy.start()
            assert Caller(copy.base_url, alice.key).chat("a b").status_code == 200
            copy.manage("backup", str(tmp_path / "again.tar"))
            copy.stop()
            with psycopg.connect(theirs["DATABASE_URL"]) as other:
                other.execute("SELECT 1")
                said = refused(copy, "restore", str(path), "--force")
                assert "Others are connected to the database" in said
            assert "a database with tables" in refused(copy, "restore", str(path))
            assert "schema replaced_" in copy.manage("restore", str(path), "--force")
            copy.start()
            assert Caller(copy.base_url, alice.key).chat("a b").status_code == 200
    finally:
        servers.stop()


def killed(system: System, after_s: float, *words: str) -> bool:
    """Whether kill -9 met the command before its end."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env=system.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode == -signal.SIGKILL


def test_killed_at_any_moment_nothing_looks_whole_that_is_not(
    original: System, alice: Caller, tmp_path: Path, record_property: Any
) -> None:
    path = tmp_path / "backup.tar"
    begun = time.monotonic()
    original.manage("backup", str(path))
    took = time.monotonic() - begun
    dice = random.Random(3)
    met = 0
    for number in range(4):
        other = tmp_path / f"{number}.tar"
        met += killed(original, dice.uniform(0.3, 1.0) * took, "backup", str(other))
        if other.exists():
            with archive.opened(other):
                pass
    assert met > 0
    with elsewhere() as timed:
        begun = time.monotonic()
        timed.manage("restore", str(path))
        restored_in = time.monotonic() - begun
    unfinished = 0
    with elsewhere() as copy:
        for _ in range(4):
            after_s = dice.uniform(0.2, 1.0) * restored_in
            met += killed(copy, after_s, "restore", str(path), "--force")
            # Its server goes by itself.
            assert_nothing_runs(copy.data, within_s=60)
            if (copy.data / "restoring").exists():
                unfinished += 1
                assert "modelpilot.E006" in refused(copy, "check")
                assert "modelpilot.E006" in refused(copy, "up")
        assert unfinished > 0
        copy.manage("restore", str(path), "--force")
        copy.start()
        assert Caller(copy.base_url, alice.key).chat("a b").status_code == 200
        assert "The books are proved." in copy.manage("reconcile")
    record_property(
        "reached", f"killed {met} times, {unfinished} restores were refused as unfinished"
    )
