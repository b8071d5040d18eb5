"""NVML on real hardware: the GPU is found, and what it says of itself is so."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
PRINT = """
import django, json, sys
django.setup()
from modelpilot.fleet import machine
print(json.dumps([device.as_json() for device in machine.devices()]))
"""


@pytest.fixture(autouse=True)
def django_is_there() -> None:
    pytest.importorskip("django", reason="The platform itself is not installed here.")


def found(**env: str) -> list[dict[str, str | int]]:
    import json

    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "modelpilot.settings", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    devices: list[dict[str, str | int]] = json.loads(done.stdout)
    return devices


def test_the_gpu_is_found(on_gpu: bool, tmp_path: Path) -> None:
    cpu, *gpus = found(MODELPILOT_DATA=str(tmp_path))
    assert cpu["id"] == "cpu"
    assert bool(gpus) == on_gpu
    if on_gpu:
        properties = torch.cuda.get_device_properties(0)
        print(gpus[0], properties)
        assert gpus[0]["name"] == properties.name
        assert str(properties.uuid) in str(gpus[0]["id"])
        assert int(gpus[0]["total_mb"]) * 1e6 == pytest.approx(properties.total_memory, rel=0.03)


def test_a_pod_is_given_its_gpu_by_uuid(on_gpu: bool, tmp_path: Path) -> None:
    for gpu in found(MODELPILOT_DATA=str(tmp_path))[1:]:
        see = "import torch; print(torch.cuda.device_count(), torch.cuda.get_device_name(0))"
        done = subprocess.run(
            [sys.executable, "-c", see],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": str(gpu["id"])},
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert done.stdout.strip() == f"1 {gpu['name']}"


def test_what_cuda_keeps_for_a_process(on_gpu: bool) -> None:
    """memory.CONTEXT is reckoned with for each pod."""
    if not on_gpu:
        return
    from inference.decoding.memory import CONTEXT

    see = (
        "import torch; x = torch.ones(8, 64, device='cuda', dtype=torch.bfloat16); y = x @ x.T; "
        "torch.cuda.synchronize(); print(torch.cuda.memory_reserved(), flush=True); input()"
    )
    free = torch.cuda.mem_get_info()[0]
    process = subprocess.Popen(
        [sys.executable, "-c", see], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    reserved = int(process.stdout.readline())
    taken = free - torch.cuda.mem_get_info()[0] - reserved
    process.communicate("\n", timeout=60)
    print(f"CUDA keeps {taken / 1e6:.0f} MB for a process")
    time.sleep(0.5)
    assert abs(torch.cuda.mem_get_info()[0] - free) < 50e6
    assert taken < CONTEXT
