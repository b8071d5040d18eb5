"""Downloading from Hugging Face, by commit, into a folder of our own that is whole or absent."""

import fcntl
import fnmatch
import hashlib
import importlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ANSWER_WITHIN_S = 10
REPORT_EVERY_S = 1.0


class Unreachable(Exception):
    """The hub could not be asked or did not give the files."""


@dataclass(frozen=True, slots=True)
class Place:
    """A repository at a commit; `path` is a file or folder in it, or empty for all of it.

    Of a folder, `include` are patterns of the files that are wanted, seen from the repository's
    root; `*` also stands for `/`, and no pattern means all.
    """

    repo: str
    revision: str
    path: str
    root: Path
    include: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where a finished download lies; it exists only when it is whole."""
        part = self.path.replace("/", "--") or "all"
        if self.include:
            # Another choice of files is another folder.
            part += "-" + hashlib.sha256("\n".join(self.include).encode()).hexdigest()[:8]
        return self.root / f"{self.repo.replace('/', '--')}@{self.revision}" / part

    @property
    def target(self) -> Path:
        """The file or folder asked for, once it is downloaded."""
        return self.folder / self.path

    def download(self, formats: set[str], progress: Callable[[float], None]) -> None:
        """Download the files of these formats, telling `progress` 0.0 to 1.0.

        Raises Unreachable, and what `progress` raises (the rest stays for a next try).
        """
        with _alone(self.folder, progress):
            if not self.folder.exists():
                self._download(formats, progress)

    def _download(self, formats: set[str], progress: Callable[[float], None]) -> None:
        partial = self.folder.with_name(self.folder.name + ".part")
        sizes = self.sizes(formats)
        hub = importlib.import_module("huggingface_hub")
        # The progress goes where `progress` brings it, not to the terminal.
        hub.utils.disable_progress_bars()

        def work() -> None:
            hub.snapshot_download(
                self.repo,
                revision=self.revision,
                local_dir=partial,
                allow_patterns=list(sizes),
            )

        _watched(work, partial, sum(sizes.values()), progress)
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        partial.rename(self.folder)

    def sizes(self, formats: set[str]) -> dict[str, int]:
        """The bytes of each file of these formats, as the hub says; raises Unreachable."""
        try:
            hub = importlib.import_module("huggingface_hub")
            return self._sizes(hub.HfApi(), formats)
        except ImportError:
            raise Unreachable("pip install huggingface_hub") from None
        except Unreachable:
            raise
        except Exception as error:
            # The library raises its own errors, its HTTP client's and the socket's.
            raise _unreachable(error) from error

    def _sizes(self, api: object, formats: set[str]) -> dict[str, int]:
        """The bytes of each wanted file."""
        info = api.model_info(  # type: ignore[attr-defined]
            self.repo, revision=self.revision, files_metadata=True, timeout=ANSWER_WITHIN_S
        )
        wanted = {
            file.rfilename: file.size or 0
            for file in info.siblings
            if Path(file.rfilename).suffix in formats and self._includes(file.rfilename)
        }
        inside = f"{self.path}/" if self.path else ""
        chosen = {n: s for n, s in wanted.items() if n == self.path or n.startswith(inside)}
        if not chosen:
            raise Unreachable(f"{self.repo} has no such file")
        return chosen

    def _includes(self, name: str) -> bool:
        if "pytorch_model.bin" in name:
            return False
        return not self.include or any(fnmatch.fnmatchcase(name, one) for one in self.include)


@contextmanager
def _alone(folder: Path, progress: Callable[[float], None]) -> Iterator[None]:
    """One process at a time downloads a folder; the others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress(0.0)
                time.sleep(REPORT_EVERY_S)
        yield


def _watched(
    work: Callable[[], None], folder: Path, total: int, progress: Callable[[float], None]
) -> None:
    """Run `work` in a thread and report how much of `total` bytes has come to `folder`."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="hub-download", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(REPORT_EVERY_S)
        progress(min(_bytes_in(folder) / max(total, 1), 1.0))
    if failures:
        raise _unreachable(failures[0]) from failures[0]


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            # The download renames its unfinished files while we look.
            continue
    return total


def _unreachable(error: Exception) -> Unreachable:
    first = (str(error).splitlines() or [""])[0]
    return Unreachable(f"{type(error).__name__}: {first}" if first else type(error).__name__)
