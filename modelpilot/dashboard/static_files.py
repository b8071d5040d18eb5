"""Static files, whose addresses change when they do: an old one is never taken for a new one."""

import zlib
from functools import cache
from pathlib import Path

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage


class VersionedStorage(StaticFilesStorage):
    def url(self, name: str | None) -> str:
        version = checksum(name or "")
        return f"{super().url(name)}?v={version}" if version else super().url(name)


@cache
def checksum(name: str) -> str:
    """Of the file's content, as it was when it was first asked for; "" where there is none."""
    found = finders.find(name)
    return f"{zlib.crc32(Path(found).read_bytes()):08x}" if isinstance(found, str) else ""
