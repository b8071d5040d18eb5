"""A backup's file: whole, or refused by its name."""

import io
import json
import random
import stat
import tarfile
from dataclasses import asdict
from pathlib import Path

import pytest

from modelpilot.backup import archive
from modelpilot.backup.archive import BackupError, Damaged, Manifest

CONTENT = {f"outputs/{number}/1/picture.png": bytes([number]) * 777 * number for number in range(9)}
MADE = Manifest("0.3.0", "2026-11-24T00:00:00+00:00", "18.4", "abc", ["jobs.0001_initial"], True)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive with a database in three pieces."""
    monkeypatch.setattr(archive, "PIECE_BYTES", 1000)
    path = tmp_path / "backup.tar"
    with archive.writing(path) as writer:
        writer.add_json("manifest.json", asdict(MADE))
        writer.add_stream("database", iter([b"a" * 900, b"b" * 900, b"c" * 900, b"d" * 10]))
        for name, content in CONTENT.items():
            writer.add(name, io.BytesIO(content), len(content))
    return path


def test_what_goes_in_comes_out(path: Path) -> None:
    with archive.opened(path) as opened:
        assert opened.manifest == MADE
        assert (
            b"".join(opened.stream("database")) == b"a" * 900 + b"b" * 900 + b"c" * 900 + b"d" * 10
        )
        found = {
            f"outputs/{name}": content.read() for name, _, content in opened.entries("outputs/")
        }
    assert found == CONTENT


def test_only_its_owner_may_read_it(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_any_tar_reads_it(path: Path) -> None:
    with tarfile.open(path) as tar:
        names = tar.getnames()
        assert names[0] == "manifest.json"
        assert [name for name in names if name.startswith("database/")] == [
            "database/000000",
            "database/000001",
        ]
        assert names[-1] == "sha256"


def damaged(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(Damaged) as raised, archive.opened(path):
        pass
    return str(raised.value)


def test_a_byte_that_is_another_is_found_wherever_it_is(path: Path) -> None:
    whole = path.read_bytes()
    dice = random.Random(1)
    # All of the first and last entries' bytes would take minutes.
    for at in {0, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(150))}:
        changed = bytearray(whole)
        changed[at] ^= 1 << dice.randrange(8)
        assert str(path) in damaged(path, bytes(changed)), at


def test_a_byte_less_is_found_wherever_it_ends(path: Path) -> None:
    whole = path.read_bytes()
    dice = random.Random(2)
    for size in {0, 1, 511, 512, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(60))}:
        assert str(path) in damaged(path, whole[:size]), size
    damaged(path, whole + b"\0")


def test_other_files_are_no_backups(path: Path, tmp_path: Path) -> None:
    assert "is no backup" in damaged(path, b"hello " * 1000)
    other = tmp_path / "other.tar"
    with archive.writing(other) as writer:
        writer.add_bytes("hello", b"world")
    with pytest.raises(Damaged, match="has no manifest"), archive.opened(other):
        pass
    with (
        pytest.raises(BackupError, match="can't be read: No such file"),
        archive.opened(tmp_path / "x"),
    ):
        pass


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    with archive.writing(path) as writer:
        newer = {**asdict(MADE), "format": 2, "version": "9.0.0"}
        writer.add_bytes("manifest.json", json.dumps(newer).encode())
    with (
        pytest.raises(BackupError, match=r"Restore it with ModelPilot 9\.0\.0"),
        archive.opened(path),
    ):
        pass


def test_nothing_has_its_name_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    with pytest.raises(ZeroDivisionError), archive.writing(path) as writer:
        writer.add_bytes("hello", b"world" * 100_000)
        assert not path.exists()
        with pytest.raises(BackupError, match="is being written"), archive.writing(path):
            pass
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    # What a killed one left is overwritten.
    path.with_name("backup.tar.partial").write_bytes(b"x" * 10_000_000)
    with archive.writing(path) as writer:
        writer.add_json("manifest.json", asdict(MADE))
    assert [each.name for each in tmp_path.iterdir()] == ["backup.tar"]
    with archive.opened(path) as opened:
        assert opened.manifest == MADE
    with pytest.raises(BackupError, match="is there already"), archive.writing(path):
        pass
