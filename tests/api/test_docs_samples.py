"""The guide's samples in curl, Python and JavaScript, run as they stand there.

All of them by a reader whose models are small, one page after the other: those of Python in one
process, as each would import the same clients.
"""

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from modelpilot.dashboard import guide
from tests.api.caller import Caller
from tests.api.conftest import NewCaller

MODELS = {
    "TEXT_MODEL": "smollm2-135m",
    "IMAGE_MODEL": "tiny-sdxl",
    "VIDEO_MODEL": "tiny-wan",
    "AUDIO_MODEL": "piper-joe",
    "EMBEDDING_MODEL": "all-minilm-l6-v2",
    "TRANSCRIPTION_MODEL": "pocketsphinx",
}
# Reads [[page, code], …]; says which fail, and why.
RUN_ALL = """
import json, sys, traceback
failed = {}
for name, code in json.load(sys.stdin):
    try:
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    except Exception:
        failed[name] = traceback.format_exc()
print("\\n" + json.dumps(failed))
"""


@pytest.fixture(scope="module")
def reader(newcomer: NewCaller) -> Caller:
    return newcomer("5")


def samples(reader: Caller, language: str) -> list[tuple[str, str]]:
    """(page and number, code) of all samples of a language, in their order."""
    words = {"API_URL": f"{reader.base_url}/api/v1", "YOUR_KEY": reader.key, **MODELS}
    return [
        (f"{page.name} {number}", guide.filled(sample.code, words))
        for _, pages in guide.contents()
        for page in pages
        for number, sample in enumerate(page.samples)
        if sample.language == language
    ]


def test_python_samples_run(reader: Caller, tmp_path: Path) -> None:
    chosen = samples(reader, "python")
    assert len(chosen) > 20
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps(chosen),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
    # What some of them print: the quote, and its refusal; that likeness is found; the replay.
    assert "402 max_cost_exceeded" in done.stdout
    assert "true True" in done.stdout
    assert (tmp_path / "apple.png").read_bytes().startswith(b"\x89PNG")
    assert b"ftyp" in (tmp_path / "fox.mp4").read_bytes()[:32]
    assert (tmp_path / "hello.wav").read_bytes().startswith(b"RIFF")


def test_curl_samples_run(reader: Caller, tmp_path: Path) -> None:
    chosen = samples(reader, "curl")
    assert len(chosen) > 15
    for name, code in chosen:
        done = subprocess.run(
            ["bash", "-e", "-c", code.replace("curl ", "curl --fail-with-body -sS ")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (name, done.stdout, done.stderr)
    assert (tmp_path / "hello.mp3").stat().st_size > 1000


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_javascript_samples_run(reader: Caller, tmp_path: Path) -> None:
    # In one process too: each is a module of its own.
    names = []
    for number, (_, code) in enumerate(samples(reader, "javascript")):
        path = tmp_path / f"sample{number:02}.mjs"
        path.write_text(code)
        names.append(path.name)
    assert len(names) > 15
    (tmp_path / "all.mjs").write_text("".join(f'await import("./{name}");\n' for name in names))
    done = subprocess.run(
        ["node", "all.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "hello.mp3").stat().st_size > 1000


def test_a_genuine_webhook_is_told_from_others(reader: Caller) -> None:
    """The sample that checks signatures, on one that our own sender made."""
    code = next(code for name, code in samples(reader, "python") if "def genuine" in code)
    space: dict[str, object] = {}
    exec(code, space)
    genuine = space["genuine"]
    assert callable(genuine)

    secret = "whsec_" + "c2VjcmV0" * 4
    body = b'{"type": "job.succeeded"}'
    now = int(time.time())
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(now, UTC), body.decode())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,bm9uZQ== {signature}",
    }
    assert genuine(secret, headers, body)
    assert not genuine(secret, headers, body + b" ")
    assert not genuine(secret, {**headers, "webhook-timestamp": str(now - 600)}, body)
