"""Outputs: stored durably before the row says so, and served by signed, expiring links."""

import hmac
import os
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.db.models import QuerySet
from django.utils import timezone

from inference.types import File
from modelpilot.jobs.ids import first_id
from modelpilot.jobs.models import Job, Output

EXPIRE_AT_ONCE = 100


class DurableFileSystemStorage(FileSystemStorage):
    """Files that are on the disk when `save` returns, and never half there."""

    def _save(self, name: str, content: Any) -> str:
        temporary = super()._save(f"{name}.{uuid.uuid4().hex}", content)  # type: ignore[misc]
        with self.open(temporary) as file:
            os.fsync(file.fileno())
        Path(self.path(temporary)).replace(self.path(name))
        return name


def store(job: uuid.UUID, attempt: int, files: list[File]) -> list[dict[str, Any]]:
    """Save the files at `<job>/<attempt>/` and return the rows of `Output` to commit.

    A later attempt writes to another folder: a zombie can't change what was promised.
    """
    return [
        {
            "id": str(uuid.uuid4()),
            "name": file.name,
            "media_type": file.media_type,
            "bytes": len(file.content),
            "path": default_storage.save(f"{job}/{attempt}/{file.name}", ContentFile(file.content)),
        }
        for file in files
    ]


def read(output: Output) -> bytes:
    with default_storage.open(output.path) as file:
        return bytes(file.read())


def signature(output: uuid.UUID, expires: int) -> str:
    key = hmac.digest(settings.SECRET_KEY.encode(), b"modelpilot output links", sha256)
    return hmac.digest(key, f"{output}:{expires}".encode(), sha256).hex()


def signed_path(output: uuid.UUID, *, steps_s: int = 1) -> str:
    """A path that shows the output to whoever has it, for OUTPUT_URL_SECONDS; less up to
    `steps_s`, for which it stays the same, so that a browser knows what it has seen."""
    expires = int(time.time()) // steps_s * steps_s + settings.OUTPUT_URL_SECONDS
    return f"/outputs/{output}?expires={expires}&signature={signature(output, expires)}"


def signature_holds(output: uuid.UUID, expires: str, given: str) -> bool:
    if not expires.isdecimal() or len(expires) > 12 or int(expires) < time.time():
        return False
    return hmac.compare_digest(signature(output, int(expires)).encode(), given.encode())


def delete_content(job: Job) -> None:
    """Forget what an ended job was asked and what it made; its row stays for the books."""
    Job.objects.filter(id=job.id).update(request={}, result=None, uploads=False)
    job.outputs.all().delete()
    # All attempts': one that died may have left what no row knows of.
    with suppress(FileNotFoundError):
        delete_folder(str(job.id))


def delete_folder(path: str) -> None:
    folders, files = default_storage.listdir(path)
    for name in files:
        default_storage.delete(f"{path}/{name}")
    for name in folders:
        delete_folder(f"{path}/{name}")
    # Buckets have no folders; on a disk the empty one goes.
    default_storage.delete(path)


def expire(days: int) -> int:
    """Delete the content of jobs with files, their own or their clients', that are older than
    `days`; returns how many."""
    if not days:
        return 0
    old = Job.objects.filter(id__lt=first_id(timezone.now() - timedelta(days=days)))
    return sum(
        delete_contents(jobs)
        for jobs in (old.filter(outputs__isnull=False), old.filter(uploads=True))
    )


def delete_contents(jobs: QuerySet[Job]) -> int:
    """Delete the content of these jobs, which takes them out of the query."""
    deleted = 0
    while True:
        # Only what is needed: what was uploaded may be megabytes each.
        batch = list(jobs.order_by("id").distinct().only("id")[:EXPIRE_AT_ONCE])
        for job in batch:
            delete_content(job)
        deleted += len(batch)
        if len(batch) < EXPIRE_AT_ONCE:
            return deleted
