"""The samples of the original documentation, as they are but for address, key and model."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.caller import Caller, content

SAMPLES = Path(__file__).with_name("samples")
Run = Callable[..., str]


@pytest.fixture
def run(alice: Caller) -> Run:
    """Runs a sample by the program that its users would take; returns what it prints."""

    def run(name: str, *program: str, **replaced: str) -> str:
        text = (SAMPLES / name).read_text()
        replaced = {
            "https://modelpilot.ai": alice.base_url,
            "qwen3-8b": "smollm2-short",
            **replaced,
        }
        for old, new in (("mp_live_your_api_key", alice.key), *replaced.items()):
            text = text.replace(old, new)
        done = subprocess.run(
            [*program, text], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("name", ["chat_openai.txt", "stream_openai.txt", "chat_requests.txt"])
def test_python_samples_print_an_answer(run: Run, name: str) -> None:
    assert len(run(name, sys.executable, "-c").strip()) > 2


def test_curl_gets_an_answer(run: Run) -> None:
    answer = json.loads(run("chat.sh", "bash", "-c"))
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] <= 100


def test_curl_gets_speech(run: Run) -> None:
    answer = json.loads(run("audio.sh", "bash", "-c"))
    assert answer["model"] == "kokoro"
    assert answer["format"] == "wav"
    assert answer["sample_rate"] == 24000
    assert answer["cost"] == 0.002
    assert answer["execution_time_ms"] > 0
    assert answer["id"].startswith("gen_")
    assert base64.b64decode(answer["audio"]).startswith(b"RIFF")


def test_curl_gets_a_deployments_health(run: Run, deployments: dict[str, str]) -> None:
    health = json.loads(run("health.sh", "bash", "-c", pod123=deployments["smollm2-135m"]))
    assert health["status"] == "healthy"
    assert health["services"].keys() >= {"ollama", "webui", "engine", "queue", "database"}
    assert health["deployment_status"] == "running"
    assert health["timestamp"].endswith("Z")
    assert health["last_checked"].endswith("Z")
    assert health["response_time_ms"] >= 0


needs_node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


@needs_node
def test_fetch_gets_an_answer(run: Run) -> None:
    assert len(run("chat_fetch.mjs", "node", "--input-type=module", "-e").strip()) > 2


@needs_node
def test_fetch_gets_a_stream(run: Run) -> None:
    printed = run("stream_fetch.mjs", "node", "--input-type=module", "-e")
    lines = [line for line in printed.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith(("data: ", ": ")) for line in lines)
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1] if line[0] == "d"]
    assert len("".join(map(content, chunks)).strip()) > 2
