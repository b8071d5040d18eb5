"""The file that a backup is: a plain tar, whose last entry is the SHA-256 of all before it.

    manifest.json                which program made it and when (see `Manifest`)
    database/000000, …           what `pg_dump --format=custom` writes, in pieces
    secret-key, catalog.toml     as they are in the data directory
    catalogs/…                   card files from elsewhere (MODELPILOT_CATALOG)
    outputs/<job>/<attempt>/…
    deleted.json                 jobs whose content was deleted while the backup was made
    sha256

Written and read in pieces, however large. It has its name only once it is whole and on the disk,
and a byte that is missing or another makes it `Damaged`.
"""

import fcntl
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

# Raised with each change after which an older program could not read a newer one's file.
FORMAT = 1
PIECE_BYTES = 16 * 1024 * 1024
COPY_BYTES = 1024 * 1024
SEAL = "sha256"


class BackupError(Exception):
    """Said to the operator as it is, without a traceback."""


class Damaged(BackupError):
    """The file is no backup, or not all of one, or was changed."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`migrations` are those that the database has had; `secret` tells whether a secret key is the
    one that its keys and links were made with, and not which that is."""

    version: str
    made_at: str
    postgres: str
    secret: str
    migrations: list[str]
    outputs: bool
    format: int = FORMAT


class Hashed(io.RawIOBase):
    """A file that is written from the beginning to the end, and hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += self.file.write(data)
        return len(data)


class Writer:
    def __init__(self, file: BinaryIO) -> None:
        self.hashed = Hashed(file)
        self.tar = tarfile.open(fileobj=self.hashed, mode="w")  # noqa: SIM115 - see `close`

    def add(self, name: str, content: IO[bytes], size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o600
        self.tar.addfile(entry, content)
        # tarfile remembers all that it has written, and there may be a million.
        self.tar.members = []  # type: ignore[attr-defined]

    def add_bytes(self, name: str, content: bytes) -> None:
        self.add(name, io.BytesIO(content), len(content))

    def add_json(self, name: str, content: object) -> None:
        self.add_bytes(name, json.dumps(content, indent=1).encode())

    def add_stream(self, folder: str, pieces: Iterable[bytes]) -> None:
        """Content whose size nobody knows before its end, as numbered entries."""
        number, buffer = 0, bytearray()
        for piece in pieces:
            buffer += piece
            if len(buffer) >= PIECE_BYTES:
                self.add_bytes(f"{folder}/{number:06}", bytes(buffer))
                number, buffer = number + 1, bytearray()
        self.add_bytes(f"{folder}/{number:06}", bytes(buffer))

    def close(self) -> int:
        """Seal it; returns its size in bytes."""
        self.add_bytes(SEAL, self.hashed.digest.hexdigest().encode())
        self.tar.close()
        return self.hashed.size


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A new archive that appears at `path`, for its owner only, when the block has ended well.

    What a killed one leaves behind is called `….partial`, and the next one overwrites it.
    """
    if path.exists():
        raise BackupError(f"{path} is there already. Give the backup another name.")
    partial = path.with_name(f"{path.name}.partial")
    with open(os.open(partial, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"Another backup is being written to {partial}.") from None
        try:
            file.truncate()
            os.fchmod(file.fileno(), 0o600)
            writer = Writer(file)
            yield writer
            writer.close()
            file.flush()
            os.fsync(file.fileno())
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """A new name is on the disk only with its folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Archive:
    """An archive that was checked from its first byte to its last."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        check(path, file)
        self.manifest = self._manifest()

    def _manifest(self) -> Manifest:
        fields = self.json("manifest.json")
        if fields.get("format") != FORMAT:
            raise BackupError(
                f"{self.path} has format {fields.get('format')}, and this program reads format "
                f"{FORMAT}. Restore it with ModelPilot {fields.get('version')}, which made it."
            )
        return Manifest(**fields)

    def entries(self, prefix: str = "") -> Iterator[tuple[str, int, IO[bytes]]]:
        """Names without the prefix, sizes, and contents to be read before the next."""
        self.file.seek(0)
        with tarfile.open(fileobj=self.file, mode="r:") as tar:
            for entry in walked(tar):
                if entry.isfile() and entry.name.startswith(prefix):
                    content = tar.extractfile(entry)
                    assert content is not None
                    yield entry.name.removeprefix(prefix), entry.size, content

    def stream(self, folder: str) -> Iterator[bytes]:
        """What `Writer.add_stream` was given."""
        for _, _, content in self.entries(f"{folder}/"):
            while piece := content.read(COPY_BYTES):
                yield piece

    def json(self, name: str) -> Any:
        for rest, _, content in self.entries(name):
            if not rest:
                return json.load(content)
        raise Damaged(f"{self.path} is no backup of ModelPilot: it has no {name}.")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Raises `Damaged` before anything of it is used, and BackupError where it can't be read."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - the block below closes it
    except OSError as error:
        raise BackupError(f"{path} can't be read: {error.strerror}.") from None
    with file:
        yield Archive(path, file)


def walked(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The entries from here on, without keeping them all in memory."""
    while (entry := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]
        yield entry


def check(path: Path, file: BinaryIO) -> None:
    """Raises `Damaged` unless every byte is as it was written."""
    last = None
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for entry in walked(tar):
                last = entry
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise Damaged(f"{path} is no backup, or not all of one: {error}.") from None
    if last is None or last.name != SEAL:
        raise Damaged(f"{path} is not whole: it ends before its last entry.")
    if not sealed(file, last):
        raise Damaged(f"{path} was changed since it was made, or is not whole: its digest differs.")


def sealed(file: BinaryIO, seal: tarfile.TarInfo) -> bool:
    """Whether the digest in the last entry is that of all before it, and only zeros follow."""
    file.seek(0)
    digest = hashlib.sha256()
    left = seal.offset
    while left and (piece := file.read(min(COPY_BYTES, left))):
        digest.update(piece)
        left -= len(piece)
    written = digest.hexdigest().encode()
    file.seek(seal.offset_data)
    rest = file.read(2 * tarfile.RECORDSIZE)
    end = -(-(seal.offset_data + 3 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
    return rest == written.ljust(end - seal.offset_data, b"\0")
