"""Who holds what others wait for: the locks of the data directory, and those of the database."""

import fcntl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from django.conf import settings
from django.db import connection

from modelpilot import embedded
from modelpilot.embedded import Place
from modelpilot.management.doctor.finding import Finding, fail, ok, warn

# A hold of this length is no part of ordinary work.
HELD_S = 5
OPEN_S = 60
BLOCKERS = """
SELECT blocker.pid, blocker.application_name, blocker.state,
       EXTRACT(EPOCH FROM now() - blocker.xact_start)::int, count(DISTINCT waiting.pid)
FROM pg_stat_activity waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS by (pid)
JOIN pg_stat_activity blocker ON blocker.pid = by.pid
WHERE waiting.wait_event_type = 'Lock' AND waiting.datname = current_database()
  AND blocker.xact_start < now() - make_interval(secs => %s)
GROUP BY 1, 2, 3, 4
"""
LONG = """
SELECT pid, application_name, state, EXTRACT(EPOCH FROM now() - xact_start)::int
FROM pg_stat_activity
WHERE xact_start < now() - make_interval(secs => %s) AND datname = current_database()
  AND backend_type = 'client backend'
"""


def look_at_locks() -> Iterator[Finding]:
    """Locks go with their process, so none is left over; but a process may hang."""
    yield from look_at_up(settings.DATA / "run" / "up.lock")
    for place in embedded_places():
        yield from look_at_server(place)


def look_at_up(lock: Path) -> Iterator[Finding]:
    if not held(lock):
        return
    for process in holders(lock):
        if process.status() == psutil.STATUS_STOPPED:
            yield fail(
                f"`up` is stopped, and holds {lock}: process {process.pid}.",
                f"`kill -CONT {process.pid}` lets it go on. `kill -KILL {process.pid}` ends it; "
                "then start `manage.py up` again.",
            )
        else:
            yield ok(f"`up` runs, as process {process.pid}.")


def look_at_server(place: Place) -> Iterator[Finding]:
    """A server whose keeper is there, but which does not answer."""
    lock = place.file("keeper")
    if not held(lock) or embedded.answers(place):
        return
    keepers = ", ".join(str(process.pid) for process in holders(lock))
    yield fail(
        f"{embedded.TITLES[place.name]} does not answer, though its keeper (process {keepers}) is "
        "there.",
        f"After a crash it may recover for a minute. Else see the end of {place.file('log')}; "
        f"`kill {keepers}` stops both, and `up` starts them anew.",
    )


def hung_servers() -> bool:
    """Whether an embedded server is kept and does not answer: waiting for it would take long."""
    return any(
        held(place.file("keeper")) and not embedded.answers(place) for place in embedded_places()
    )


def embedded_places() -> Iterator[Place]:
    if settings.EMBEDDED_POSTGRES:
        yield Place(settings.DATA, "postgres")
    if settings.EMBEDDED_VALKEY:
        yield Place(settings.DATA, "valkey")


def held(lock: Path) -> bool:
    if not lock.exists():
        return False
    with embedded.opened(lock) as descriptor:
        return not embedded.try_lock(descriptor, fcntl.LOCK_SH)


def holders(lock: Path) -> list[psutil.Process]:
    """The processes that have locked a file, from Linux's table of locks."""
    found = []
    inode = str(lock.stat().st_ino)
    with suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and any(word.rpartition(":")[2] == inode for word in words):
                with suppress(psutil.Error, ValueError):
                    found.append(psutil.Process(int(words[4])))
    return found


def look_at_transactions() -> Iterator[Finding]:
    """Who lets others wait in the database, and who might."""
    blocking = set()
    with connection.cursor() as cursor:
        cursor.execute(BLOCKERS, [HELD_S])
        for pid, name, state, seconds, waiting in cursor.fetchall():
            blocking.add(pid)
            yield fail(
                f"Process {pid} of the database ({name or 'unnamed'}, {state}) holds locks since "
                f"{seconds} s, for which {waiting} others wait.",
                f"End it: SELECT pg_terminate_backend({pid}).",
            )
        cursor.execute(LONG, [OPEN_S])
        for pid, name, state, seconds in cursor.fetchall():
            if pid not in blocking:
                yield warn(
                    f"Process {pid} of the database ({name or 'unnamed'}, {state}) has a "
                    f"transaction open for {seconds} s, and may hold locks.",
                    f"End it by SELECT pg_terminate_backend({pid}), unless it is a backup.",
                )
