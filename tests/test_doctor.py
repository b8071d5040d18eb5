"""`manage.py doctor` finds what is wrong, says what to do, and is quiet otherwise."""

import shutil
import subprocess
import sys
import uuid
from collections import namedtuple
from collections.abc import Iterable
from datetime import timedelta

import pytest
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from billing.models import Account
from modelpilot.accounts.models import User
from modelpilot.fleet.models import Deployment
from modelpilot.jobs import lease
from modelpilot.jobs.models import Job
from modelpilot.management.commands import doctor
from modelpilot.management.commands.doctor import Finding
from tests.cast import pod_id, submitted
from tests.system import ROOT, System

Usage = namedtuple("Usage", "total used free")


def only(found: Iterable[Finding]) -> Finding:
    (finding,) = [each for each in found if each.level != "ok"]
    assert finding.todo
    return finding


def asked(system: System) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env=system.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_running_product_has_nothing_to_fail(system: System) -> None:
    done = asked(system)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fail" not in done.stdout
    for part in ("Settings", "PostgreSQL 18", "Valkey", "migrations", "web server", "books"):
        assert part in done.stdout, done.stdout
    assert f"ok    Node test-{system.port} is alive." in done.stdout


def test_a_wrong_database_fails_with_advice(system: System) -> None:
    nowhere = System(
        system.data, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}, port=system.port
    )
    done = asked(nowhere)
    assert done.returncode == 1
    assert "fail  The database" in done.stdout
    assert "Look at DATABASE_URL" in done.stdout


@pytest.mark.django_db(transaction=True)
def test_jobs_that_housekeeping_left_behind(alice: User) -> None:
    assert [each.level for each in doctor.look_at_jobs()] == ["ok"]
    job = submitted(alice)
    lease.claim("echo", pod_id(), 1)
    Job.objects.filter(id=job.id).update(lease_until=timezone.now() - timedelta(minutes=5))
    assert only(doctor.look_at_jobs()).text.startswith("1 jobs have lost their pod")


@pytest.mark.django_db(transaction=True)
def test_wrong_books(alice: User) -> None:
    assert [each.level for each in doctor.look_at_books()] == ["ok"]
    Account.objects.filter(owner=alice.id).update(credits_posted=F("credits_posted") + 1)
    assert only(doctor.look_at_books()).level == "fail"


@pytest.mark.django_db(transaction=True)
def test_models_that_cannot_be_loaded(books: None) -> None:
    assert only(doctor.look_at_models()).text == "No model is deployed."
    deployment = Deployment.objects.create(model=f"gone-{uuid.uuid4()}")
    assert "no catalog has it" in only(doctor.look_at_models()).text
    Deployment.objects.filter(id=deployment.id).update(
        model="smollm2-135m", failures=3, error="The file is broken."
    )
    finding = only(doctor.look_at_models())
    assert (finding.level, "The file is broken." in finding.text) == ("fail", True)


@pytest.mark.parametrize(("free", "level"), [(5e8, "fail"), (5e9, "warn"), (5e11, "ok")])
def test_disk_space(monkeypatch: pytest.MonkeyPatch, free: float, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1e12, 0, free))
    assert [each.level for each in doctor.look_at_disk()] == [level]


def test_nobody_on_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "PORT", 0)
    assert "Nobody listens" in only(doctor.look_at_port()).text
