"""The whole platform with this machine's GPU: found, planned for, paid for, and given back."""

import asyncio
import base64
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pynvml

from benchmarks import conversation, stack
from benchmarks.conversation import Reply
from benchmarks.gpu.run import Run
from benchmarks.stack import Stack

CARDS = Path(__file__).with_name("cards.toml")
# The card that is chatted with: a model of its size on a GPU, and a tiny one without.
CHAT = {False: "qwen3-8b", True: "tiny-chat"}
EMOJI = {False: "emoji-64-gpu", True: "emoji-64"}
SETTLED_S = 60.0


def measure(run: Run, name: str) -> None:
    data = Path(tempfile.mkdtemp(prefix="mp-gpu-"))
    try:
        weigh(run, data)
        before = used_mb(run)
        run.note("GPU used before, MB", before)
        begun = time.perf_counter()
        settings = {
            "MODELPILOT_CATALOG": str(CARDS),
            "MODELPILOT_IDLE_SECONDS": "20",
            "HF_HUB_OFFLINE": "1",
        }
        with stack.running(keep_data=data, **settings) as system:
            run.note("from `manage.py up` to ready, s", time.perf_counter() - begun)
            for what in (looked, chatted, drawn, settled):
                with run.attempt(what.__name__):
                    what(run, system)
            with run.attempt("memory comes back"):
                given_back(run, before)
        shutil.copy(data / "up.log", run.out / "up.log")
    finally:
        shutil.rmtree(data, ignore_errors=True)
    with run.attempt("bare engine"):
        bare(run)


def weigh(run: Run, data: Path) -> None:
    """The weights of qwen3-8b where its card looks for them, made by a process of its own."""
    program = (
        "import sys; from pathlib import Path; from benchmarks.gpu.run import Run; "
        "from benchmarks.gpu.text import written; "
        "written(Run('whole', Path(sys.argv[1]), Path(sys.argv[2]), bool(sys.argv[3])), 'qwen3-8b')"
    )
    arguments = [str(run.out), str(run.weights), "yes" if run.on_cpu else ""]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    models = data / "models"
    models.mkdir()
    (models / "qwen3-8b").symlink_to(run.weights / "qwen3-8b")
    gguf = run.weights.parent / "smollm2-135m"
    if gguf.exists():
        (models / "smollm2-135m").symlink_to(gguf)


def used_mb(run: Run) -> float:
    if run.on_cpu:
        return 0.0
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    return float(pynvml.nvmlDeviceGetMemoryInfo(handle).used) / 1e6


def got(system: Stack, path: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{system.port}{path}", headers={"Authorization": f"Bearer {system.key}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def looked(run: Run, system: Stack) -> None:
    """What the platform says of this machine and of its models."""
    said = system.manage("models")
    (run.out / "models.txt").write_text(said)
    for line in said.splitlines():
        if line.startswith((CHAT[run.on_cpu], "smollm2", EMOJI[run.on_cpu])):
            run.note("manage.py models", line.strip()[:150])
    devices = got(system, "/api/v1/devices")
    (run.out / "devices.json").write_text(json.dumps(devices, indent=1))
    run.note("devices", json.dumps(devices)[:300])


def chatted(run: Run, system: Stack) -> None:
    model = CHAT[run.on_cpu]
    begun = time.perf_counter()
    asyncio.run(conversation.ask(system.port, system.key, model, "Hello", 4))
    run.note("first chat, with loading, s", time.perf_counter() - begun)
    run.note("GPU used with the model, MB", used_mb(run))
    tokens = 16 if run.on_cpu else 160
    for clients in (1, 8, 32):
        begun = time.perf_counter()
        replies = asyncio.run(crowd(system, model, clients, tokens))
        told(run, f"through us, {clients} clients", replies, time.perf_counter() - begun)
    (run.out / "deployments.json").write_text(
        json.dumps(got(system, "/api/v1/deployments"), indent=1)
    )


async def crowd(system: Stack, model: str, clients: int, tokens: int) -> list[Reply]:
    asked = (
        conversation.ask(system.port, system.key, model, question(number), tokens)
        for number in range(clients)
    )
    return list(await asyncio.gather(*asked))


def question(number: int) -> str:
    return f"{time.perf_counter()}: a long story about lighthouse {number}, with many details."


def told(run: Run, what: str, replies: list[Reply], seconds: float) -> None:
    first = sorted(reply.first_s for reply in replies)
    tokens = sum(reply.tokens for reply in replies)
    run.note(
        f"{what}: tok/s; first p50, p95, ms",
        f"{tokens / seconds:.0f}; {1000 * statistics.median(first):.0f}, "
        f"{1000 * first[int(0.95 * (len(first) - 1))]:.0f}",
    )


def drawn(run: Run, system: Stack) -> None:
    for number in range(2):
        body: dict[str, object] = {
            "model": EMOJI[run.on_cpu], "prompt": "a red apple on a white background",
            "seed": number,
        }  # fmt: skip
        begun = time.perf_counter()
        answer = json.loads(system.post("/api/v1/generate/image", body))
        run.note(f"picture {number + 1} through us, s", time.perf_counter() - begun)
        content = str(answer).partition("iVBOR")
        found = "iVBOR" + content[2].partition("'")[0]
        (run.out / f"emoji{number}.png").write_bytes(base64.b64decode(found))


def settled(run: Run, system: Stack) -> None:
    run.note("reconcile", system.manage("reconcile").splitlines()[-1][:120])
    doctor = subprocess.run(
        [sys.executable, "manage.py", "doctor"], cwd=stack.ROOT, env=system.environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (run.out / "doctor.txt").write_text(doctor.stdout + doctor.stderr)
    run.note("doctor, exit status", doctor.returncode)


def given_back(run: Run, before: float) -> None:
    """Idle pods stop, and the GPU is as it was."""
    begun = time.perf_counter()
    while used_mb(run) > before + 100 and time.perf_counter() - begun < SETTLED_S:
        time.sleep(0.5)
    run.note("GPU used when pods are idle, MB", used_mb(run))
    run.note("that took, s", time.perf_counter() - begun)


def bare(run: Run) -> None:
    """The engine alone, by the same card, for the platform's share."""
    from benchmarks.gpu import text
    from inference import engines
    from inference.types import Device
    from inference.weights import Weights

    card = text.text_card(run, "qwen3-8b")
    if not run.on_cpu:
        card = card.model_copy(update={"slots": 32, "memory_mb": 22_000})
    where = Device(threads=2) if run.on_cpu else Device("cuda", 0, 8, card.memory_mb)
    engine = engines.load(card, Weights({"model": text.written(run, "qwen3-8b")}), where)
    text.crowd(engine, 2, 8)
    for clients in (1, 8, 32):
        found = text.crowd(engine, clients, 16 if run.on_cpu else 160)
        text.told(run, f"bare, {clients} clients", found)
    engine.close()
