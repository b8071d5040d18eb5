"""The embedded servers: one of each per data directory, whatever happens to whom."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import redis

from modelpilot import embedded, keeper
from modelpilot.embedded import Place, Servers, database_url, redis_url
from tests.leftovers import assert_nothing_runs, eventually, processes

ROOT = Path(__file__).parent.parent

HOLD = """
import sys, time
from pathlib import Path
from modelpilot.embedded import Servers
servers = Servers(Path(sys.argv[1]))
servers.start()
print(*servers.pids().values(), flush=True)
time.sleep(60)
"""


def hold_elsewhere(data: Path) -> subprocess.Popen[str]:
    """Another process that uses the servers; its first line is out once they run."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(pid) for pid in process.stdout.readline().split()]


def end(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mp-") as folder:
        path = Path(folder) / "it's a data folder"
        yield path
        assert_nothing_runs(path)


@pytest.fixture
def servers(data: Path) -> Iterator[Servers]:
    servers = Servers(data)
    servers.start()
    yield servers
    servers.stop()


def remember(data: Path, word: str) -> None:
    with psycopg.connect(database_url(data), autocommit=True) as database:
        database.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        database.execute("INSERT INTO words VALUES (%s)", [word])
    with redis.Redis.from_url(redis_url(data)) as valkey:
        valkey.rpush("words", word)


def remembered(data: Path) -> tuple[list[str], list[str]]:
    with psycopg.connect(database_url(data)) as database:
        rows = [row[0] for row in database.execute("SELECT word FROM words")]
    with redis.Redis.from_url(redis_url(data), decode_responses=True) as valkey:
        return rows, valkey.lrange("words", 0, -1)


def restarted(servers: Servers) -> list[str]:
    """What comes back, once both have."""
    names: list[str] = []

    def both() -> bool:
        names.extend(servers.check())
        return len(names) == 2

    eventually(both)
    return sorted(names)


def test_a_clean_stop_loses_nothing_and_leaves_nothing(data: Path) -> None:
    servers = Servers(data)
    servers.start()
    remember(data, "kept")
    assert servers.stop() == []
    assert processes(data) == []
    with embedded.running(
        SimpleNamespace(DATA=data, EMBEDDED_POSTGRES=True, EMBEDDED_VALKEY=True)
    ) as servers:
        assert set(servers.pids()) == {"postgres", "valkey"}
        assert remembered(data) == (["kept"], ["kept"])
    assert processes(data) == []


def test_stop_without_start_does_nothing(data: Path) -> None:
    assert Servers(data).stop() == []


def test_servers_that_are_not_ours_are_not_started(data: Path) -> None:
    settings = SimpleNamespace(DATA=data, EMBEDDED_POSTGRES=False, EMBEDDED_VALKEY=False)
    with embedded.running(settings) as servers:
        assert servers.pids() == {}
    assert not data.exists()


def test_only_the_owner_can_enter(servers: Servers, data: Path) -> None:
    for name in embedded.TITLES:
        assert Place(data, name).sockets.stat().st_mode & 0o077 == 0
    listening = {
        connection.status
        for process in processes(data)
        for connection in process.net_connections(kind="inet")
    }
    assert listening == set()


def test_two_starts_at_once_share_one_server(data: Path) -> None:
    with ThreadPoolExecutor() as pool:
        others = [hold_elsewhere(data) for _ in range(3)]
        pids = list(pool.map(first_line, others))
    assert pids[0] == pids[1] == pids[2]
    assert len(keeper.workers_on(data / "valkey", "valkey-server")) == 1
    for other in others:
        end(other)


def test_servers_outlive_whoever_started_them_while_others_use_them(data: Path) -> None:
    starter = Servers(data)
    starter.start()
    other = hold_elsewhere(data)
    pids = first_line(other)
    assert starter.stop() == ["valkey", "postgres"]
    assert starter.pids() == dict(zip(("postgres", "valkey"), pids, strict=True))
    end(other)


def test_a_killed_user_leaves_nothing_behind(data: Path) -> None:
    other = hold_elsewhere(data)
    first_line(other)
    end(other, signal.SIGKILL)
    assert_nothing_runs(data)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_a_killed_keeper_takes_its_server_along_and_is_replaced(
    servers: Servers, data: Path
) -> None:
    remember(data, "before")
    before = servers.pids()
    for process in processes(data):
        if "modelpilot.keeper" in process.cmdline():
            process.kill()
    eventually(lambda: not servers.pids())
    assert restarted(servers) == ["postgres", "valkey"]
    assert not set(before.values()) & set(servers.pids().values())
    servers.start()
    assert remembered(data) == (["before"], ["before"])


def test_killed_servers_come_back_with_their_data(servers: Servers, data: Path) -> None:
    remember(data, "before")
    # Valkey writes to disk once a second; PostgreSQL before it says yes.
    time.sleep(1.2)
    before = servers.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    assert restarted(servers) == ["postgres", "valkey"]
    assert not set(before.values()) & set(servers.pids().values())
    assert remembered(data) == (["before"], ["before"])
    assert servers.check() == []


def test_a_killed_postmaster_waits_for_its_busy_backends(servers: Servers, data: Path) -> None:
    with psycopg.connect(database_url(data), autocommit=True) as database:
        busy = database.execute("SELECT pg_backend_pid()").fetchone()
        assert busy is not None
        # A stopped backend can't see that its postmaster has died; two at once would be fatal.
        os.kill(busy[0], signal.SIGSTOP)
        os.kill(servers.pids()["postgres"], signal.SIGKILL)
        time.sleep(1)
        assert "postgres" not in servers.pids()
        os.kill(busy[0], signal.SIGCONT)
        eventually(lambda: servers.check() == ["postgres"])


def test_a_stale_pid_file_that_names_another_process_is_no_obstacle(data: Path) -> None:
    servers = Servers(data, valkey=False)
    servers.start()
    pid_file = data / "postgres" / "postmaster.pid"
    content = pid_file.read_text().splitlines()
    servers.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *content[1:]]))
    servers.start()
    servers.stop()


def test_what_a_start_that_failed_says(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    servers = Servers(data)
    with pytest.raises(embedded.ServerError, match=r"PostgreSQL did not start. The end of .*run"):
        servers.start()
    assert processes(data) == []


def test_a_long_path_gets_a_short_private_socket() -> None:
    with tempfile.TemporaryDirectory(prefix="mp-") as folder:
        data = Path(folder) / ("long" * 30)
        servers = Servers(data)
        try:
            servers.start()
            assert Place(data, "valkey").sockets.parent == Path("/tmp")
            assert Place(data, "valkey").sockets.stat().st_mode & 0o077 == 0
            remember(data, "long")
        finally:
            servers.stop()
            for name in embedded.TITLES:
                shutil.rmtree(Place(data, name).sockets)


def test_a_foreign_folder_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SystemExit, match="belongs to somebody else"):
        keeper.private_folder(tmp_path / "link", None)


def test_addresses_are_known_before_anything_runs() -> None:
    assert database_url(Path("/a b")) == "postgresql://postgres@/modelpilot?host=/a%20b/postgres"
    assert redis_url(Path("/a b")) == "unix:///a%20b/valkey/valkey.sock?db=0"


def test_a_socket_that_nobody_answers_is_not_ready(tmp_path: Path) -> None:
    place = Place(tmp_path, "valkey")
    assert not embedded.answers(place)
    place.folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.socket))
    assert not embedded.answers(place)
