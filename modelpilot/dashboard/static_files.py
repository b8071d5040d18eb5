"""Static files, whose addresses change when they do: an old one is never taken for a new one."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from servestatic.compress import Compressor

# Our typeface is Inter, which comes with unfold, in the two weights that site.css knows.
WEIGHTS = {"Regular": "inter-400.woff2", "SemiBold": "inter-600.woff2"}
# Latin letters, and the signs that pages have: other scripts are drawn by the system's faces.
LETTERS = (
    "U+20-7E,U+A0-17F,U+2013,U+2014,U+2018-201E,U+2022,U+2026,U+202F,U+2190-2193,U+20AC,U+2212,"
    "U+21B5,U+25BE,U+2715"
)
# Kerning, and figures of one width for tables.
FEATURES = "kern,liga,calt,ccmp,mark,tnum"


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

    def copy(target: Path) -> None:
        shutil.copytree(folder, target)
        compressor = Compressor(use_brotli=False, use_zstd=False, quiet=True)
        for path in paths:
            if compressor.should_compress(path.name):
                compressor.compress(str(target / path.relative_to(folder)))

    return made_once(cache / "static" / known.hexdigest()[:32], copy)


def typeface(cache: Path) -> Path:
    """A folder in `cache` with our typeface, a seventh of what it was, made once for each."""
    inter = Path(str(files("unfold"))) / "static" / "unfold" / "fonts" / "inter"
    known = hashlib.sha256(f"{LETTERS} {FEATURES}".encode())
    for weight in WEIGHTS:
        known.update((inter / f"Inter-{weight}.woff2").read_bytes())

    def cut(target: Path) -> None:
        target.mkdir()
        for weight, name in WEIGHTS.items():
            subset(inter / f"Inter-{weight}.woff2", target / name)

    return made_once(cache / "static" / f"type-{known.hexdigest()[:32]}", cut)


def subset(source: Path, target: Path) -> None:
    """In a process of its own: the library stays out of this one."""
    program = [sys.executable, "-m", "fontTools.subset", str(source), f"--output-file={target}"]
    options = [f"--unicodes={LETTERS}", f"--layout-features={FEATURES}", "--flavor=woff2"]
    subprocess.run([*program, *options], check=True, capture_output=True)


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, which `make` fills where nobody has yet."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as room:
            make(Path(room) / "made")
            # Another process may have been first, with the same.
            with suppress(OSError):
                (Path(room) / "made").rename(target)
    return target
