"""What is refused before anything starts, and what it says to do about it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SECRET = "rI8m0Cq5uYk2wT9sXv4bZf7hJn1aLd6gPe3oQ"
EXAMPLES = (
    "x" * 40,
    "0123456701234567012345670123456701234567",
    "django-insecure-4#r$8z!q0w7e6t5y3u2i1o9p@a^s&d*f(g)h",
    "please-change-me-to-something-long-and-random",
    "ThisIsMySuperSecretKeyForModelPilot123456",
)
HTTPS = "https://api.example.com"


def said(code: str, tmp_path: Path, **env: str) -> tuple[int, str]:
    """Exit status and stderr of a fresh interpreter with these settings."""
    done = subprocess.run(
        [sys.executable, *code.split(" ", 1 if code.startswith("-c") else -1)],
        cwd=ROOT,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "modelpilot.settings",
            "MODELPILOT_DATA": str(tmp_path),
            **env,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr + done.stdout


def checked(tmp_path: Path, **env: str) -> tuple[int, str]:
    return said("manage.py check", tmp_path, **env)


def test_a_fresh_clone_needs_nothing(tmp_path: Path) -> None:
    status, text = checked(tmp_path)
    assert status == 0, text
    assert "no issues" in text


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"MODELPILOT_PUBLIC_URL": HTTPS}, "modelpilot.E001"),
        ({"MODELPILOT_PUBLIC_URL": HTTPS, "MODELPILOT_SECRET_KEY": "short"}, "modelpilot.E002"),
        *(
            ({"MODELPILOT_PUBLIC_URL": HTTPS, "MODELPILOT_SECRET_KEY": known}, "modelpilot.E007")
            for known in EXAMPLES
        ),
        ({"MODELPILOT_PUBLIC_URL": "api.example.com"}, "modelpilot.E003"),
        ({"MODELPILOT_LOG_FORMAT": "yaml"}, "modelpilot.E004"),
        ({"TRUSTED_PROXIES": "127.0.0.1,proxy.local"}, "'proxy.local' is neither"),
    ],
)
def test_what_is_refused(tmp_path: Path, env: dict[str, str], expected: str) -> None:
    status, text = checked(tmp_path, **env)
    assert status != 0
    assert expected in text


def test_the_web_process_refuses_by_itself(tmp_path: Path) -> None:
    status, text = said("-c import modelpilot.asgi", tmp_path, MODELPILOT_PUBLIC_URL=HTTPS)
    assert status != 0
    assert "modelpilot.E001" in text


@pytest.mark.parametrize(
    ("secret", "expected"), [({}, "E001"), ({"MODELPILOT_SECRET_KEY": EXAMPLES[0]}, "E007")]
)
def test_up_starts_nothing_without_a_secret(
    tmp_path: Path,
    secret: dict[str, str],
    expected: str,
    record_property: Callable[[str, object], None],
) -> None:
    status, text = said("manage.py up", tmp_path, MODELPILOT_PUBLIC_URL=HTTPS, **secret)
    assert status != 0
    assert f"modelpilot.{expected}" in text
    assert not (tmp_path / "postgres").exists()
    kind = "an example for a secret" if secret else "no secret"
    record_property("reached", f"{kind} in production: refuses to start")


def test_a_secret_in_a_file_will_do(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    env = {
        "MODELPILOT_PUBLIC_URL": HTTPS,
        "MODELPILOT_SECRET_KEY_FILE": str(file),
        "TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8",
    }
    status, text = checked(tmp_path, **env)
    assert (status, "no issues" in text) == (0, True), text
    code = (
        "-c import django; django.setup(); from django.conf import settings as s; "
        "from modelpilot.api.gate import ALWAYS; "
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_NAME, ALWAYS[1:])"
    )
    _, text = said(code, tmp_path, **env)
    assert text.startswith("True True __Host-session [(b'strict-transport-security'"), text


def test_what_is_only_warned_of(tmp_path: Path) -> None:
    status, text = checked(tmp_path, MODELPILOT_PUBLIC_URL="http://api.example.com")
    assert (status, "modelpilot.W001" in text) == (0, True), text
    status, text = checked(tmp_path, MODELPILOT_PUBLIC_URL=HTTPS, MODELPILOT_SECRET_KEY=SECRET)
    assert (status, "modelpilot.W002" in text) == (0, True), text


def test_a_bucket_without_its_package_is_refused(tmp_path: Path) -> None:
    # As on a machine that has not installed the extra.
    code = (
        "-c import django, importlib.util as u; django.setup(); from modelpilot import checks; "
        "checks.find_spec = lambda name: None; checks.refuse()"
    )
    status, text = said(code, tmp_path, MODELPILOT_S3_BUCKET="outputs")
    assert status != 0
    assert "modelpilot.E005" in text
