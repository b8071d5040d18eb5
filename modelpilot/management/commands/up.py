"""The whole product in one command: servers, migrations, web, housekeeping and node.

It stays in front, restarts what crashes and, on Ctrl-C or SIGTERM, lets running work finish
and stops everything that it started. A second Ctrl-C hurries. On stdout it prints one line,
when it is ready.
"""

import errno
import fcntl
import http.client
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import kombu.exceptions
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from billing import payments
from inference.errors import CatalogError
from modelpilot import embedded, pool, schema
from modelpilot.accounts.first_run import FirstRun, first_run
from modelpilot.fleet.deployments import deploy_available
from modelpilot.fleet.supervise import Child
from modelpilot.jobs import housekeeping, valkey

READY_S = 90.0
# Longer than each of them needs by its own rules, so that it may end by itself.
GRACE_S = {"web": 35.0, "node": 40.0, "housekeeping": 15.0}
WEB = (
    "-m uvicorn modelpilot.asgi:application --no-proxy-headers --no-access-log --loop uvloop "
    "--http modelpilot.wire:Wire --ws none --lifespan off --no-server-header "
    "--timeout-graceful-shutdown 30 --log-level warning"
).split()
HOUSEKEEPING = (
    "-m celery --quiet -A modelpilot.celery worker -B -P threads -c 3 -Q housekeeping -l WARNING "
    "--without-gossip --without-mingle --without-heartbeat -n housekeeping@%h"
).split()


# Files and connections that a process may have open: a shell's usual thousand is no thousand
# clients.
FILES = 65_536


class Stopped(BaseException):
    """A signal came while we were still starting."""


def children() -> list[Child]:
    """In the order in which they stop: nobody may lack what comes after."""
    arguments = {
        "web": [*WEB, "--host", settings.HOST, "--port", str(settings.PORT)],
        "node": ["manage.py", "node"],
        "housekeeping": [
            *HOUSEKEEPING,
            "-s",
            str(settings.DATA / "run" / "beat"),
        ],
    }
    return [
        Child(
            name,
            [sys.executable, *argv],
            env=settings.NODE_ENVIRONMENT if name == "node" else settings.CHILD_ENVIRONMENT,
            cwd=settings.BASE_DIR,
        )
        for name, argv in arguments.items()
    ]


@contextmanager
def only_one() -> Iterator[None]:
    lock = settings.DATA / "run" / "up.lock"
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with embedded.opened(lock) as descriptor:
        if not embedded.try_lock(descriptor, fcntl.LOCK_EX):
            raise CommandError(
                f"ModelPilot runs already on {settings.DATA}. For a second one, set "
                "MODELPILOT_DATA and MODELPILOT_PORT to others."
            )
        yield


def allow_many_files() -> None:
    """As many as this user may, for us and all that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def check_port() -> None:
    family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.HOST, settings.PORT))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CommandError(
                    f"Port {settings.PORT} is in use; set MODELPILOT_PORT to another."
                ) from None
            raise CommandError(
                f"Can't listen on {settings.HOST} port {settings.PORT}: {error.strerror}."
            ) from None


def address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def unreadiness() -> str | None:
    """Why the web server does not take requests yet, or None when it does."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    host = everywhere.get(settings.HOST, settings.HOST)
    public = urlsplit(settings.PUBLIC_URL).netloc
    connection = http.client.HTTPConnection(host, settings.PORT, timeout=5)
    try:
        connection.request("GET", "/readyz", headers={"Host": public} if public else {})
        response = connection.getresponse()
        body = response.read(300).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"it does not answer ({error})"
    finally:
        connection.close()
    return None if response.status == 200 else f"/readyz answers {response.status}: {body}"


def refuse_newer() -> None:
    """What a newer version made of the tables, this one would only spoil."""
    if newer := schema.unknown(schema.applied()):
        raise CommandError(
            f"The database is of a newer ModelPilot than this one ({settings.VERSION}): it has "
            f"{newer[-1]}. Start that version, or restore the backup from before the upgrade."
        )


class Command(BaseCommand):
    help = "Start everything and keep it running: servers, migrations, web, housekeeping, node."

    signals = 0
    booting = True

    def handle(self, **options: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        try:
            self.run_all()
        except (Stopped, KeyboardInterrupt):
            pass
        except embedded.ServerError as error:
            raise CommandError(str(error)) from None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1
        # Our own loops look at the count. Before them only an exception gets through.
        if self.booting and self.signals == 1:
            raise Stopped

    def run_all(self) -> None:
        allow_many_files()
        with only_one():
            check_port()
            with embedded.running(settings) as servers:
                try:
                    self.prepare()
                finally:
                    self.booting = False
                self.keep(children(), servers)
                if servers.shares:
                    self.say("Stopping the servers.")

    def prepare(self) -> None:
        try:
            refuse_newer()
            call_command("migrate", verbosity=0, interactive=False)
            welcome = first_run()
            deploy_available()
            self.reconcile_soon()
        except OperationalError as error:
            raise CommandError(f"The database does not answer: {error}") from None
        except CatalogError as error:
            raise CommandError(error.message) from None
        finally:
            # We only watch from here on: the connections are for those who work.
            pool.leave()
        if welcome:
            self.welcome(welcome)

    def reconcile_soon(self) -> None:
        """What Stripe told nobody while we were down is asked for by the housekeeping."""
        if payments.configured():
            try:
                housekeeping.reconcile.apply_async(expires=3600, retry=False)
            except (*valkey.AWAY, kombu.exceptions.OperationalError) as error:
                self.say(f"Stripe is asked in an hour only, for lack of a broker: {error}")

    def welcome(self, welcome: FirstRun) -> None:
        """The operator's key, shown once: on a terminal, or in a file only its owner reads."""
        if welcome.key is None:
            self.say(f"The operator's e-mail and password are not set yet: {welcome.setup_url}")
            return
        key = f"Its key, shown only now: {welcome.key}"
        if not sys.stderr.isatty():
            path = settings.DATA / "operator-key"
            path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with open(os.open(path, flags, 0o600), "w") as file:
                file.write(f"{welcome.key}\n")
            key = f"Its key is in {path}"
        self.say(
            "An operator account was made.\n"
            f"  {key}\n"
            f"  Set its e-mail and password here: {welcome.setup_url}"
        )

    def keep(self, children: list[Child], servers: embedded.Servers) -> None:
        try:
            # What needs least starts first.
            for child in reversed(children):
                child.start()
            self.wait_until_ready(children)
            while not self.signals:
                self.tend(children, servers)
                time.sleep(0.2)
        finally:
            self.stop_in_order(children)

    def wait_until_ready(self, children: list[Child]) -> None:
        deadline = time.monotonic() + READY_S
        while not self.signals:
            reason = unreadiness()
            if reason is None:
                self.stdout.write(f"ready http://{address(settings.HOST)}:{settings.PORT}")
                self.stdout.flush()
                return
            for child in children:
                if (status := child.poll()) is not None:
                    raise CommandError(
                        f"{child.name} ended with status {status} at the start; see above."
                    )
            if time.monotonic() > deadline:
                raise CommandError(f"web did not get ready in {READY_S:.0f} s: {reason}")
            time.sleep(0.05)

    def tend(self, children: list[Child], servers: embedded.Servers) -> None:
        for name in servers.check():
            self.say(f"{embedded.TITLES[name]} was restarted.")
        for child in children:
            if (status := child.tend()) is not None:
                pause = f"{child.backoff.pause:.0f} s"
                self.say(f"{child.name} ended with status {status}; it starts again in {pause}.")

    def stop_in_order(self, children: list[Child]) -> None:
        for child in children:
            if child.pid is not None:
                self.say(f"Stopping {child.name}.")
            child.stop(GRACE_S[child.name], hurried=lambda: self.signals > 1)

    def say(self, line: str) -> None:
        # Not in red: it is news, not an error.
        self.stderr.write(line, style_func=str)
