"""What can be looked at without a database: settings, cards, disk, devices, port, Stripe."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import stripe
from django.conf import settings
from django.core.checks import run_checks
from django.core.files.storage import FileSystemStorage, default_storage

from billing import payments
from inference.errors import InferenceError
from modelpilot.fleet import machine
from modelpilot.fleet.catalog import cards
from modelpilot.management.commands.up import unreadiness
from modelpilot.management.doctor.finding import Finding, fail, ok, warn

# Less free space than this stops PostgreSQL and downloads soon, or now.
SCARCE_GB, NONE_LEFT_GB = 10, 1
STRIPE_S = 5


def look_at_settings() -> Iterator[Finding]:
    messages = run_checks()
    for message in messages:
        make = fail if message.is_serious() else warn
        yield make(f"{message.id}: {message.msg}", message.hint or "")
    if not messages:
        yield ok(f"Settings, with the data in {settings.DATA}.")


def look_at_catalog() -> Iterator[Finding]:
    try:
        yield ok(f"The catalog has {len(cards().cards)} models.")
    except InferenceError as error:
        yield fail(
            f"The catalog can't be read, so nothing starts: {error.message}",
            "Mend the card that it names (MODELPILOT_CATALOG, data/catalog.toml).",
        )


def look_at_disk() -> Iterator[Finding]:
    folders = [settings.DATA]
    if isinstance(default_storage, FileSystemStorage):
        folders.append(Path(default_storage.location))
    seen = set()
    for folder in folders:
        if folder.exists() and (device := folder.stat().st_dev) not in seen:
            seen.add(device)
            yield room_in(folder)


def room_in(folder: Path) -> Finding:
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        return fail(
            f"Nothing can be written to {folder}: {error.strerror}.",
            "Make room, or give the folder to the user that runs ModelPilot.",
        )
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{free:.1f} GB are free in {folder}."
    todo = f"Make room: {settings.CACHE} is safe to delete, the rest isn't."
    if free < NONE_LEFT_GB:
        return fail(text, todo)
    return warn(text, todo) if free < SCARCE_GB else ok(text)


def look_at_devices() -> Iterator[Finding]:
    """What this machine computes with. A machine without a GPU has nothing wrong with it."""
    found = machine.devices()
    for device in found:
        yield ok(
            f"{device.name}: pods may use {device.memory_mb} MB of {device.total_mb} MB, "
            f"{device.free_mb} MB are free now."
        )
    if len(found) > 1:
        return
    if not machine.driver_answers():
        yield ok("No driver of NVIDIA answers, so models run on the CPU only.")
    else:
        yield warn(
            "NVIDIA's driver answers, but there is no GPU for pods.",
            "Look at CUDA_VISIBLE_DEVICES, and at what `nvidia-smi -L` says.",
        )


def look_at_port() -> Iterator[Finding]:
    where = f"{settings.HOST} port {settings.PORT}"
    with socket.socket(socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            listener.bind((settings.HOST, settings.PORT))
            yield warn(f"Nobody listens on {where}.", "Start `manage.py up`.")
            return
    reason = unreadiness()
    if reason is None:
        yield ok(f"The web server answers on {where}.")
    elif '"overloaded"' in reason:
        yield warn(
            f"The web server on {where} has more to do than it can, and refuses some requests.",
            "They are told when to come again. If it stays so: more web processes or cores, or see "
            "MODELPILOT_REQUESTS_AT_ONCE.",
        )
    else:
        yield fail(
            f"{listener_on(settings.PORT)} on {where}, and {reason}",
            "If that is another program, end it or set MODELPILOT_PORT; else see the web "
            "process's log.",
        )


def listener_on(port: int) -> str:
    """Who listens there, as far as this user may know."""
    with suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr.port == port and connection.pid:  # type: ignore[union-attr]
                words = " ".join(psutil.Process(connection.pid).cmdline())[:80]
                return f"Process {connection.pid} ({words}) listens"
    return "Somebody listens"


def look_at_stripe() -> Iterator[Finding]:
    if not payments.configured():
        yield ok("There is no STRIPE_SECRET_KEY: credit is granted, and not bought.")
        return
    client = stripe.StripeClient(
        settings.STRIPE_SECRET_KEY,
        base_addresses={"api": settings.STRIPE_API_BASE} if settings.STRIPE_API_BASE else None,
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=STRIPE_S),
    )
    try:
        client.v1.checkout.sessions.list({"limit": 1})
    except (stripe.AuthenticationError, stripe.PermissionError) as error:
        yield fail(
            f"Stripe refuses STRIPE_SECRET_KEY: {error.user_message or error}",
            "Take the key from Stripe's dashboard, under Developers.",
        )
    except stripe.StripeError as error:
        yield fail(
            f"Stripe can't be reached at {settings.STRIPE_API_BASE or 'https://api.stripe.com'} "
            f"({type(error).__name__}).",
            "Nobody can buy credit meanwhile; what was paid is booked once it answers. Look at "
            "this machine's way to the internet, and at https://status.stripe.com.",
        )
    else:
        yield ok("Stripe answers.")
    if not settings.STRIPE_WEBHOOK_SECRETS:
        yield warn(
            "There is no STRIPE_WEBHOOK_SECRET, so what Stripe tells is not heard.",
            "Set it: until then payments are booked by the hourly reconcile only.",
        )
