"""PostgreSQL's own programs, as the wheel of the embedded server brings them, on whatever server
DATABASE_URL names."""

import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from modelpilot.backup.archive import COPY_BYTES, BackupError
from modelpilot.keeper import postgres_programs

# PostgreSQL before 17 does not know it, and the programs of 18 set it.
UNKNOWN_BEFORE_17 = b"SET transaction_timeout = 0;\n"


def dump(url: str, snapshot: str) -> Iterator[bytes]:
    """The database as it is in that snapshot, for pg_restore. Raises BackupError."""
    options = ("--format=custom", "--no-owner", "--no-privileges", "--schema=public")
    with program("pg_dump", url, *options, f"--snapshot={snapshot}") as process:
        assert process.stdout is not None
        while piece := process.stdout.read(COPY_BYTES):
            yield piece


def load(url: str, pieces: Iterable[bytes], first: str) -> None:
    """Run `first`, and put what `dump` gave beside it: all in one transaction, or nothing.

    The COMMIT is only sent once everything else was: whoever dies before has done nothing.
    """
    options = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")
    with program("psql", url, *options) as psql:
        assert psql.stdin is not None
        say(psql.stdin, f"BEGIN;\n{first}\n".encode())
        for script in as_script(pieces):
            say(psql.stdin, script)
        say(psql.stdin, b"COMMIT;\n")
        psql.stdin.close()


def as_script(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What `dump` gave as SQL."""
    with program("pg_restore", None, "--no-owner", "--no-privileges", "--file=-") as process:
        feeder = threading.Thread(target=feed, args=[process, pieces])
        feeder.start()
        assert process.stdout is not None
        script = process.stdout.read(COPY_BYTES).replace(UNKNOWN_BEFORE_17, b"", 1)
        while script:
            yield script
            script = process.stdout.read(COPY_BYTES)
        feeder.join()


def feed(process: "subprocess.Popen[bytes]", pieces: Iterable[bytes]) -> None:
    assert process.stdin is not None
    # A program that gives up says why by itself.
    with suppress(BrokenPipeError), process.stdin as stdin:
        for piece in pieces:
            stdin.write(piece)


def say(stdin: IO[bytes], script: bytes) -> None:
    with suppress(BrokenPipeError):
        stdin.write(script)
        stdin.flush()


@contextmanager
def program(name: str, url: str | None, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """One of PostgreSQL's programs; BackupError with what it said, if it fails."""
    target, environment = ([], {}) if url is None else connection(url)
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(
            [postgres_programs() / "bin" / name, *options, *target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if name != "psql" else subprocess.DEVNULL,
            stderr=said,
            env=environment,
        ) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            said.seek(0)
            reason = said.read().decode(errors="replace").strip()
            raise BackupError(f"{name} failed: {reason or f'status {process.returncode}'}")


def connection(url: str) -> tuple[list[str], dict[str, str]]:
    """The options and the environment by which they connect: no password on a command line."""
    parts = urlsplit(url)
    if parts.password is None:
        return [f"--dbname={url}"], {}
    plain = parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", "@", 1))
    return [f"--dbname={urlunsplit(plain)}"], {"PGPASSWORD": unquote(parts.password)}
