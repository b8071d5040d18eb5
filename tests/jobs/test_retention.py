"""What jobs made is deleted after its time, with what they were asked; their cost is not."""

import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from inference.types import File
from modelpilot.accounts.models import User
from modelpilot.jobs import storage
from modelpilot.jobs.ids import first_id
from modelpilot.jobs.models import Job, Output

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    files = {**settings.STORAGES["default"], "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = {**settings.STORAGES, "default": files}
    return tmp_path


def job_of(owner: User, days: float) -> Job:
    """A job that was made so many days ago, with a file; a dead attempt left another."""
    at = first_id(timezone.now() - timedelta(days=days))
    job = Job.objects.create(
        id=uuid.UUID(int=at.int | uuid.uuid4().int >> 64),
        owner=owner,
        permission="generate",
        route="generate/image",
        request_id="r",
        kind="image",
        model="m",
        deployment="d",
        request={"prompt": "a secret"},
        state=Job.State.SUCCEEDED,
        deadline_at=timezone.now(),
        price=10,
        cost=10,
        result={"images": []},
    )
    picture = File("output_00001_.png", "image/png", b"pixels")
    storage.store(job.id, 1, [picture])
    for fields in storage.store(job.id, 2, [picture]):
        Output.objects.create(job=job, **fields)
    return job


def test_old_files_go_and_young_ones_stay(alice: User, folder: Path) -> None:
    old, young = job_of(alice, 31), job_of(alice, 29)
    assert storage.expire(30) == 1
    assert [path.name for path in folder.iterdir()] == [str(young.id)]
    old.refresh_from_db()
    assert (old.request, old.result, old.cost) == ({}, None, 10)
    assert list(Output.objects.values_list("job_id", flat=True)) == [young.id]
    young.refresh_from_db()
    assert young.request == {"prompt": "a secret"}
    assert storage.expire(30) == 0


def test_what_was_uploaded_goes_too(alice: User, folder: Path) -> None:
    old, young, plain = job_of(alice, 31), job_of(alice, 29), job_of(alice, 31)
    Output.objects.all().delete()
    Job.objects.filter(id__in=[old.id, young.id]).update(uploads=True)
    assert storage.expire(30) == 1
    old.refresh_from_db()
    assert (old.request, old.result, old.cost, old.uploads) == ({}, None, 10, False)
    for job in (young, plain):
        job.refresh_from_db()
        assert job.request == {"prompt": "a secret"}
    assert storage.expire(30) == 0


def test_more_than_fit_one_batch(
    alice: User, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "EXPIRE_AT_ONCE", 2)
    for days in range(40, 45):
        job_of(alice, days)
    assert storage.expire(30) == 5
    assert list(folder.iterdir()) == []


def test_nought_days_keep_all(alice: User, folder: Path) -> None:
    job_of(alice, 4000)
    assert storage.expire(0) == 0
    assert len(list(folder.iterdir())) == 1
