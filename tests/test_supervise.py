"""Children: restarted with patience, ended as a group, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from modelpilot.fleet.supervise import Backoff, Child
from tests.leftovers import eventually

ROOT = Path(__file__).parent.parent
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def python(code: str) -> Child:
    return Child("child", [sys.executable, "-c", code])


def ready(tmp_path: Path, code: str) -> Child:
    """A child that has come as far as its last statements."""
    flag = tmp_path / "ready"
    child = python(f"{code}; open({str(flag)!r}, 'w').close(); import time; time.sleep(60)")
    child.start()
    eventually(flag.exists)
    return child


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_child_tells_how_it_ended() -> None:
    child = python("import sys; sys.exit(3)")
    assert child.poll() is None
    child.start()
    eventually(lambda: child.poll() is not None)
    assert (child.poll(), child.pid) == (3, None)


def test_a_program_that_does_not_exist_is_an_exit_status() -> None:
    child = Child("child", ["/no/such/program"])
    child.start()
    eventually(lambda: child.poll() is not None)
    assert child.poll() == 1


def test_a_crashed_child_is_restarted_after_its_pause() -> None:
    child = python("import sys; sys.exit(3)")
    child.backoff.pause = 0.1
    child.start()
    ends: list[int] = []

    def tended() -> bool:
        if (status := child.tend()) is not None:
            ends.append(status)
            child.backoff.pause = 0.1
            child._start_again_at = time.monotonic() + 0.1
        return len(ends) == 3

    eventually(tended)
    assert ends == [3, 3, 3]
    child.stop(1)


def test_pauses_grow_and_a_good_minute_forgives() -> None:
    backoff = Backoff()
    assert [backoff.after(0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(61) == 1


def test_stop_asks_first(tmp_path: Path) -> None:
    code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
    child = ready(tmp_path, code)
    assert child.stop(10) == 7


def test_stop_kills_after_the_grace(tmp_path: Path) -> None:
    child = ready(tmp_path, STUBBORN + "0")
    started = time.monotonic()
    assert child.stop(0.3) == -signal.SIGKILL
    assert 0.2 < time.monotonic() - started < 5


def test_hurry_ends_the_grace(tmp_path: Path) -> None:
    child = ready(tmp_path, STUBBORN + "0")
    looks = iter([False, False, True])
    assert child.stop(60, hurried=lambda: next(looks)) == -signal.SIGKILL


def test_what_a_dead_child_left_in_its_group_is_swept(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    spawn = "import subprocess; p = subprocess.Popen(['sleep', '60'])"
    child = python(f"{spawn}; open({str(note)!r}, 'w').write(str(p.pid)); p.returncode = 0")
    child.start()
    eventually(lambda: child.poll() is not None)
    eventually(lambda: not running(int(note.read_text())))


def test_a_child_leads_its_own_group(tmp_path: Path) -> None:
    child = ready(tmp_path, "0")
    assert child.pid is not None
    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    child.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_children_follow_a_killed_parent() -> None:
    code = """
import sys, time
from modelpilot.fleet.supervise import Child
child = Child("child", ["sleep", "60"])
child.start()
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    eventually(lambda: psutil.Process(pid).name() == "sleep")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not running(pid))
