"""Static files, whose addresses change when they do: an old one is never taken for a new one."""

import hashlib
import shutil
import tempfile
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from servestatic.compress import Compressor


class VersionedStorage(StaticFilesStorage):
    def url(self, name: str | None) -> str:
        version = checksum(name or "")
        return f"{super().url(name)}?v={version}" if version else super().url(name)


@cache
def checksum(name: str) -> str:
    """Of the file's content, as it was when it was first asked for; "" where there is none."""
    found = finders.find(name)
    return f"{zlib.crc32(Path(found).read_bytes()):08x}" if isinstance(found, str) else ""


def compressed(folder: Path, cache: Path) -> Path:
    """A copy of `folder` in `cache`, made once for each content, where a file that shrinks lies
    as gzip too."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    known = hashlib.sha256()
    for path in paths:
        known.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    target = cache / "static" / known.hexdigest()[:32]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as room:
            copy = shutil.copytree(folder, Path(room) / "copy")
            compressor = Compressor(use_brotli=False, use_zstd=False, quiet=True)
            for path in paths:
                if compressor.should_compress(path.name):
                    compressor.compress(str(copy / path.relative_to(folder)))
            # Another process may have been first, with the same.
            with suppress(OSError):
                copy.rename(target)
    return target
