"""`manage.py doctor` finds what is wrong, says what to do, and is quiet otherwise.

Each fault is a real one, and the command is the one that an operator types.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from modelpilot import embedded
from modelpilot.accounts.models import User
from modelpilot.jobs import lease
from modelpilot.jobs.models import Job
from modelpilot.management.doctor import installation, tables
from modelpilot.management.doctor.finding import Finding
from tests.api.caller import Caller
from tests.cast import pod_id, submitted
from tests.chaos.faults import small_disk, unmount
from tests.fake_stripe.account import StripeAccount
from tests.fake_stripe.server import KEY, serving
from tests.system import CATALOG, ROOT, System, free_port, product

# Also on a machine that is busy with other things.
SECONDS = 60
Usage = namedtuple("Usage", "total used free")
BROKEN_CARD = """
[broken]
kind = "text"
engine = "text_llamacpp"
name = "Not a model"
licence = "none"
memory_mb = 50
price = "0.001"
context = 64
files.model = { sources = ["file:broken.gguf"] }
"""


def asked(system: System, **env: str) -> tuple[int, str]:
    """Exit status and what it says."""
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env={**system.environment, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def failed(system: System, *words: str, **env: str) -> str:
    """What it says where it must fail, in a line with all of these words and a todo below."""
    status, said = asked(system, **env)
    assert status == 1, said
    lines = said.splitlines()
    [number] = [
        number
        for number, line in enumerate(lines)
        if line.startswith("fail") and all(word in line for word in words)
    ] or pytest.fail(said)
    assert lines[number + 1].startswith("      "), said
    return said


def execute(system: System, query: str) -> None:
    with psycopg.connect(embedded.database_url(system.data), autocommit=True) as connection:
        connection.execute(query)


@contextmanager
def listening() -> Iterator[int]:
    """A web server that is none of ours."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> System:
    """An installation that never ran, whose servers are not there."""
    away = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
    }
    return System(tmp_path_factory.mktemp("doctor") / "data", away)


def test_a_running_product_has_nothing_to_fail(system: System) -> None:
    status, said = asked(system)
    assert status == 0, said
    assert "fail" not in said
    for part in ("Settings", "PostgreSQL 18", "Valkey", "migrations", "web server", "books"):
        assert part in said, said
    assert f"ok    Node test-{system.port} is alive." in said
    assert f"ok    `up` runs, as process {system.pid}." in said


def test_the_worst_comes_first(nothing: System) -> None:
    _, said = asked(nothing, MODELPILOT_PUBLIC_URL="http://api.example.com")
    levels = [line[:4] for line in said.splitlines() if not line.startswith(" ")]
    assert levels == sorted(levels, key=["fail", "warn", "ok  "].index)
    assert set(levels) == {"fail", "warn", "ok  "}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MODELPILOT_PORT", "many", "MODELPILOT_PORT must be a whole number"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL must start with postgresql://"),
        ("MODELPILOT_SECRET_KEY_FILE", "/nowhere", "MODELPILOT_SECRET_KEY_FILE names /nowhere"),
        ("MODELPILOT_DATA", "/dev/null/data", "MODELPILOT_DATA is /dev/null/data"),
        ("MODELPILOT_PUBLIC_URL", "https://api.example.com", "no MODELPILOT_SECRET_KEY"),
        ("MODELPILOT_LOG_FORMAT", "yaml", "It takes json or text"),
        ("MODELPILOT_CATALOG", "/nowhere.toml", "/nowhere.toml"),
    ],
)
def test_wrong_settings(nothing: System, name: str, value: str, words: str) -> None:
    status, said = asked(nothing, **{name: value})
    assert (status, words in said) == (1, True), said


def test_a_database_that_is_not_there(nothing: System) -> None:
    begun = time.monotonic()
    said = failed(nothing, "The database does not answer", "Connection refused")
    assert "Look at DATABASE_URL" in said
    # The rest is looked at all the same.
    assert "GB are free" in said
    assert time.monotonic() - begun < SECONDS / 2


def test_a_valkey_that_is_not_there(nothing: System) -> None:
    failed(nothing, "Valkey does not answer", "127.0.0.1:9")


def test_another_program_on_the_port(nothing: System) -> None:
    with listening() as port:
        said = failed(
            nothing, f"Process {os.getpid()}", f"127.0.0.1 port {port}", MODELPILOT_PORT=str(port)
        )
    assert "set MODELPILOT_PORT" in said


def test_nobody_on_the_port(nothing: System) -> None:
    _, said = asked(nothing)
    assert f"warn  Nobody listens on 127.0.0.1 port {nothing.port}." in said


def test_stripe(nothing: System) -> None:
    stripe = {"STRIPE_SECRET_KEY": KEY, "STRIPE_WEBHOOK_SECRET": "whsec_x"}
    away = f"http://127.0.0.1:{free_port()}"
    failed(nothing, "Stripe can't be reached", away, STRIPE_API_BASE=away, **stripe)
    with serving(StripeAccount()) as base:
        _, said = asked(nothing, STRIPE_API_BASE=base, **stripe)
        assert "ok    Stripe answers." in said
        stripe["STRIPE_SECRET_KEY"] = "sk_test_another"
        failed(nothing, "Stripe refuses STRIPE_SECRET_KEY", STRIPE_API_BASE=base, **stripe)


def test_a_restore_that_was_killed(nothing: System) -> None:
    nothing.data.mkdir(exist_ok=True)
    (nothing.data / "restoring").touch()
    try:
        assert "restore FILE" in failed(nothing, "modelpilot.E006", "has not ended")
    finally:
        (nothing.data / "restoring").unlink()


def test_a_full_disk(system: System) -> None:
    disk = system.data / "outputs"
    if not small_disk(disk):
        pytest.skip("a small disk can't be mounted here, only root may")
    try:
        assert "safe to delete" in failed(system, "0.0 GB are free", str(disk))
        with open(disk / "fill", "wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        failed(system, "Nothing can be written to", str(disk), "No space left")
    finally:
        unmount(disk)


@pytest.mark.parametrize(("free", "level"), [(5e8, "fail"), (5e9, "warn"), (5e11, "ok")])
def test_disk_space(monkeypatch: pytest.MonkeyPatch, free: float, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1e12, 0, free))
    assert [each.level for each in installation.look_at_disk()] == [level]


def test_up_that_was_stopped(system: System) -> None:
    os.kill(system.pid, signal.SIGSTOP)
    try:
        said = failed(system, "`up` is stopped", f"process {system.pid}")
        assert f"kill -CONT {system.pid}" in said
    finally:
        os.kill(system.pid, signal.SIGCONT)


def test_a_database_that_hangs(system: System) -> None:
    postmaster = int((system.data / "run" / "postgres.pid").read_text())
    os.kill(postmaster, signal.SIGSTOP)
    try:
        failed(system, "PostgreSQL does not answer", "its keeper")
    finally:
        os.kill(postmaster, signal.SIGCONT)


def test_a_lock_that_others_wait_for(system: System) -> None:
    lock = "SELECT 1 FROM fleet_node FOR UPDATE"
    url = embedded.database_url(system.data)
    with psycopg.connect(url, application_name="forgotten") as holder:
        holder.execute(lock)
        (pid,) = holder.execute("SELECT pg_backend_pid()").fetchone() or (0,)

        def wait() -> None:
            with psycopg.connect(url) as other:
                other.execute(lock)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(6)
        said = failed(system, f"Process {pid} of the database (forgotten", "wait")
        assert f"SELECT pg_terminate_backend({pid})" in said
        holder.rollback()
        waiting.join()


def test_drifted_books(system: System) -> None:
    system.account("drifted@example.com", "1")
    move = (
        "UPDATE billing_account SET credits_posted = credits_posted {} 1 WHERE owner_id = "
        "(SELECT id FROM accounts_user WHERE email = 'drifted@example.com')"
    )
    execute(system, move.format("+"))
    try:
        assert "Stop taking money" in failed(system, "The books do not prove")
    finally:
        execute(system, move.format("-"))
    assert asked(system)[0] == 0


def test_missing_weights_and_a_model_without_card(system: System, tmp_path: Path) -> None:
    cards = tmp_path / "cards.toml"
    cards.write_text(BROKEN_CARD)
    execute(system, deployed("broken"))
    execute(system, deployed("gone"))
    try:
        said = failed(system, "broken", "broken.gguf", MODELPILOT_CATALOG=f"{CATALOG},{cards}")
        assert "fail  gone is deployed, but no catalog has it any more." in said
    finally:
        execute(system, "DELETE FROM fleet_deployment WHERE model IN ('broken', 'gone')")


def deployed(model: str) -> str:
    return (
        "INSERT INTO fleet_deployment (id, model, engine, desired, pinned, replicas, failures, "
        "error, recent_runs, created_at) "
        f"VALUES ('dep-{model}', '{model}', '', 'running', false, 1, 0, '', '{{}}', now())"
    )


def test_a_newer_database(system: System) -> None:
    execute(
        system,
        "INSERT INTO django_migrations (app, name, applied) VALUES ('jobs', '9999_later', now())",
    )
    try:
        said = failed(system, "of a newer ModelPilot", "jobs.9999_later")
        assert "restore the backup from before the upgrade" in said
        done = subprocess.run(
            [sys.executable, "manage.py", "prepare"],
            cwd=ROOT,
            env=system.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "jobs.9999_later" in done.stderr) == (1, True)
    finally:
        execute(system, "DELETE FROM django_migrations WHERE name = '9999_later'")


def test_a_pod_that_cannot_load(tmp_path: Path) -> None:
    cards = tmp_path / "cards.toml"
    cards.write_text(BROKEN_CARD)
    with product(MODELPILOT_CATALOG=f"{CATALOG},{cards}") as system:
        (system.data / "models").mkdir(parents=True)
        (system.data / "models" / "broken.gguf").write_bytes(b"GGUF" + bytes(4096))
        system.start()
        alice = Caller(system.base_url, system.account("alice@example.com", "1"))
        answer = alice.chat("hello", "broken")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_loadable")
        said = failed(system, "broken can't be loaded")
        assert "/start" in said
        assert alice.available() == 1


@pytest.mark.django_db(transaction=True)
def test_jobs_that_housekeeping_left_behind(alice: User) -> None:
    assert [each.level for each in tables.look_at_jobs()] == ["ok"]
    job = submitted(alice)
    lease.claim("echo", pod_id(), 1)
    Job.objects.filter(id=job.id).update(lease_until=timezone.now() - timedelta(minutes=5))
    assert only(tables.look_at_jobs()).text.startswith("1 jobs have lost their pod")


def only(found: Iterable[Finding]) -> Finding:
    (finding,) = [each for each in found if each.level != "ok"]
    assert finding.todo
    return finding


@pytest.mark.django_db(transaction=True)
def test_nothing_deployed_is_said(books: Any) -> None:
    assert only(tables.look_at_models()).text == "No model is deployed."
