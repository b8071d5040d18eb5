"""What still runs for a data directory: nothing may, once its product was stopped."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil


def processes(data: Path) -> list[psutil.Process]:
    """By environment, command line or working folder, whichever of them names the folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and concerns(process, data):
                found.append(process)
    return [process for process in found if process.pid != psutil.Process().pid]


def concerns(process: psutil.Process, data: Path) -> bool:
    if process.environ().get("MODELPILOT_DATA") == str(data) or str(data) in process.cmdline():
        return True
    return Path(process.cwd()).is_relative_to(data)


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.05)


def assert_nothing_runs(data: Path, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while (left := processes(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [" ".join(process.cmdline()) or process.name() for process in left] == []
