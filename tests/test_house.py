"""The rules of the house that neither ruff nor import-linter knows."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("modelpilot", "billing", "inference")
# A file is named after its noun, and nothing happens behind the caller's back.
HEAVY = {
    "torch",
    "diffusers",
    "transformers",
    "onnxruntime",
    "xllamacpp",
    "kokoro_onnx",
    "piper",
    "pocketsphinx",
    "av",
    "huggingface_hub",
    "inference.text_llamacpp",
    "inference.speech_kokoro",
    "inference.sound.recordings",
}
FORBIDDEN = {"utils", "util", "helpers", "common", "base", "managers", "services", "signals"}


def files() -> Iterator[Path]:
    for room in ROOMS:
        yield from (ROOT / room).rglob("*.py")


def test_files_are_named_after_their_noun() -> None:
    assert [str(path) for path in files() if {path.stem, path.parent.name} & FORBIDDEN] == []


def test_packages_begin_empty() -> None:
    assert [
        str(path) for path in files() if path.name == "__init__.py" and path.read_text().strip()
    ] == []


def test_there_are_no_signal_receivers() -> None:
    receivers = re.compile(r"^\s*@receiver\b|\.connect\([^)]*sender=|django\.dispatch", re.M)
    assert [str(path) for path in files() if receivers.search(path.read_text())] == []


def test_engines_are_imported_by_name_only() -> None:
    """Adding one is adding one file; a static import would load its libraries where it must not."""
    engines = "|".join(
        path.stem for path in (ROOT / "inference").glob("*_*.py") if path.stem[0] != "_"
    )
    imports = re.compile(
        rf"^\s*(from inference\.({engines})\b|from inference import .*\b({engines})\b)", re.M
    )
    assert engines
    assert [str(path) for path in files() if imports.search(path.read_text())] == []


def test_the_web_process_stays_light() -> None:
    code = (
        "import sys, django; django.setup(); import modelpilot.asgi, modelpilot.urls; "
        f"print(*({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_version_is_the_changelogs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert first is not None
    assert project["version"] == first[1]


def test_the_lock_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pins = [line for line in lock.splitlines() if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[a-z0-9.-]+==[^\s@/]+", line)] == []
