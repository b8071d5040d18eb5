"""`manage.py up`: one command starts everything, keeps it up and leaves nothing behind."""

import http.client
import os
import signal
import socket
import stat
from collections.abc import Iterator

import psutil
import pytest

from tests.leftovers import assert_nothing_runs, eventually, processes
from tests.system import System, product


@pytest.fixture(scope="module")
def running() -> Iterator[System]:
    """Shared by the tests that leave it healthy."""
    with product() as system:
        yield system.start()


def status(system: System, path: str = "/readyz") -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def refused(system: System) -> str:
    """What `up` says when it does not want to start."""
    system.launch()
    assert system.process is not None
    out, _ = system.process.communicate(timeout=60)
    assert (system.process.returncode, out) == (1, "")
    system.process = None
    return system.said()


def test_the_first_run_keeps_its_key_in_a_private_file(running: System) -> None:
    file = running.data / "operator-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("mp_")
    assert str(file) in running.said()
    assert file.read_text().strip() not in running.said()
    assert "/setup/" in running.said()


def test_it_listens_on_the_loopback_only(running: System) -> None:
    listening = {
        connection.laddr.ip
        for process in processes(running.data)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_second_one_on_the_same_data_is_refused(running: System) -> None:
    second = System(running.data, {})
    second.launch()
    assert second.process is not None
    assert second.process.wait(60) == 1
    second.process.communicate()
    assert "runs already on" in running.said()
    assert status(running) == 200


def test_a_port_in_use_is_named_before_anything_starts() -> None:
    with product() as system, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", system.port))
        listener.listen()
        expected = f"Port {system.port} is in use; set MODELPILOT_PORT to another."
        assert expected in refused(system)
        assert not (system.data / "postgres").exists()


def test_a_child_that_can_not_start_ends_it_all() -> None:
    with product(MODELPILOT_HOST="192.0.2.1") as system:
        assert "Can't listen on 192.0.2.1" in refused(system)


@pytest.mark.parametrize("name", ["web", "node", "housekeeping"])
def test_a_killed_child_is_restarted(running: System, name: str) -> None:
    before = running.child(name)
    assert before is not None
    before.kill()
    eventually(lambda: running.child(name) not in (None, before))
    eventually(lambda: status(running) == 200)
    assert f"{name} ended with status -9" in running.said()


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_killed_server_is_restarted(running: System, name: str) -> None:
    file = running.data / "run" / f"{name}.pid"
    before = int(file.read_text())
    os.kill(before, signal.SIGKILL)
    eventually(lambda: file.exists() and int(file.read_text()) != before)
    eventually(lambda: status(running) == 200)
    title = {"postgres": "PostgreSQL", "valkey": "Valkey"}[name]
    eventually(lambda: f"{title} was restarted." in running.said())


def test_commands_work_beside_it_and_leave_it_alone(running: System) -> None:
    assert running.account("someone@example.com", credit="1.50").startswith("mp_")
    assert status(running) == 200


def test_commands_bring_their_own_servers() -> None:
    with product() as system:
        system.manage("migrate", "--verbosity=0")
        assert system.account("someone@example.com").startswith("mp_")
        assert_nothing_runs(system.data)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(number: signal.Signals) -> None:
    with product() as system:
        system.start().stop(number)
        words = ["Stopping web", "Stopping node", "Stopping housekeeping", "Stopping the servers"]
        places = [system.said().index(word) for word in words]
        assert places == sorted(places)


def test_a_signal_while_starting_stops_what_had_started() -> None:
    with product() as system:
        system.launch()
        eventually((system.data / "run" / "postgres.keeper").exists)
        system.stop(signal.SIGINT)


def test_a_second_signal_hurries() -> None:
    with product() as system:
        system.start()
        # It can't drain: only a kill ends it.
        web = system.child("web")
        assert web is not None
        assert system.process is not None
        web.suspend()
        system.process.send_signal(signal.SIGINT)
        eventually(lambda: "Stopping web" in system.said())
        system.stop(signal.SIGINT)


def test_killed_it_takes_everything_along() -> None:
    with product() as system:
        system.start()
        system.kill()
        # And what it left on disk is no obstacle.
        system.start()
        assert status(system) == 200
