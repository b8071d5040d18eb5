"""The devices of a machine, found by the real pynvml in a driver that is played (see driver/)."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.catalog import Card
from inference.types import Kind
from modelpilot.fleet import machine
from modelpilot.fleet.machine import Device, allowed, too_small_for

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver")
PRINT = """
import django, json
django.setup()
from modelpilot.fleet import machine
print(json.dumps([device.as_json() for device in machine.devices()]))
"""


def found(**env: str) -> list[dict[str, Any]]:
    """The devices that a process of its own finds."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    devices: list[dict[str, Any]] = json.loads(done.stdout)
    return devices


def test_gpus_and_mig_instances_are_found_by_the_driver() -> None:
    cpu, *gpus = found(PYTHONPATH=str(DRIVER))
    assert (cpu["id"], cpu["kind"]) == ("cpu", "cpu")
    assert 0 < cpu["memory_mb"] <= cpu["total_mb"]
    # The H100 itself is gone, since it is cut up; the GB10 does not tell its memory.
    assert [gpu["id"] for gpu in gpus] == ["GPU-aaaa", "MIG-bbbb-0", "MIG-bbbb-2", "GPU-dddd"]
    assert gpus[0] == {
        "id": "GPU-aaaa",
        "kind": "cuda",
        "name": "NVIDIA L4",
        "total_mb": 24_000,
        "memory_mb": 23_500,
        "free_mb": 22_000,
    }


def test_without_a_driver_there_is_the_cpu_and_no_word_about_it() -> None:
    assert [device["id"] for device in found(PYTHONPATH="")] == ["cpu"]


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("all", True),
        ("", False),
        ("-1", False),
        ("0", False),
        ("0,1", True),
        ("GPU-bb", True),
        ("bb", False),
        ("MIG-bbbb-0", True),
        ("MIG-bbbb-2", False),
    ],
)
def test_cuda_visible_devices_is_obeyed(visible: str, seen: bool) -> None:
    assert allowed(visible, {"1", "GPU-bbbb", "MIG-bbbb-0"}) is seen


def test_a_pod_sees_its_device_only() -> None:
    assert machine.environment(["cpu"]) == {"CUDA_VISIBLE_DEVICES": ""}
    assert machine.environment(["GPU-aaaa"]) == {"CUDA_VISIBLE_DEVICES": "GPU-aaaa"}
    both = ["GPU-aaaa", "GPU-dddd"]
    assert machine.environment(both) == {"CUDA_VISIBLE_DEVICES": "GPU-aaaa,GPU-dddd"}
    assert machine.computing(["cpu"], 300).memory_mb is None
    gpu = machine.computing(["GPU-aaaa"], 14_000)
    assert (gpu.kind, gpu.index, gpu.count) == ("cuda", 0, 1)
    assert machine.computing(both, 14_000).count == 2


def test_what_does_not_fit_is_told_why() -> None:
    cpu = Device("cpu", "cpu", "CPU", 2000, 1000, 2000)
    gpu = Device("GPU-aaaa", "cuda", "NVIDIA L4", 24_000, 23_500, 24_000)
    assert too_small_for(card("cpu", 1000), [[cpu, gpu]]) is None
    assert too_small_for(card("cuda", 23_500), [[cpu], [cpu, gpu]]) is None
    for device, memory_mb, there, reason in (
        ("cpu", 1001, [cpu, gpu], "It needs 1,001 MB of memory; pods may use 1,000 MB here."),
        ("cuda", 1, [cpu], "It needs an NVIDIA GPU with 1 MB, and there is none here."),
        (
            "cuda",
            23_501,
            [cpu, gpu],
            "It needs 23,501 MB on one GPU; the largest here, NVIDIA L4, has 23,500 MB for pods.",
        ),
    ):
        assert too_small_for(card(device, memory_mb), [there]) == reason


def test_several_gpus_are_of_one_machine_and_whole() -> None:
    gpu = Device("GPU-aaaa", "cuda", "NVIDIA L4", 24_000, 23_500, 24_000)
    twin, part = replace(gpu, id="GPU-dddd"), replace(gpu, id="MIG-bbbb-0")
    small = replace(gpu, id="GPU-eeee", memory_mb=100)
    wanted = card("cuda", 20_000, devices=2)
    assert too_small_for(wanted, [[gpu, twin]]) is None
    assert too_small_for(wanted, [[part], [small, twin, gpu]]) is None
    for there, found in (
        ([[gpu], [twin]], "1 is here."),
        ([[gpu, part, small]], "1 is here."),
        ([[part]], "none is here."),
        ([], "none is here."),
    ):
        assert too_small_for(wanted, there) == (
            f"It needs 2 NVIDIA GPUs of one machine with 20,000 MB on each; {found}"
        )
    more = "It needs 3 NVIDIA GPUs of one machine with 20,000 MB on each; 2 are here."
    assert too_small_for(card("cuda", 20_000, devices=3), [[gpu, twin]]) == more


def card(device: str, memory_mb: int, devices: int = 1) -> Card:
    return Card.model_validate(
        {
            "id": "x",
            "kind": Kind.AUDIO,
            "engine": "echo",
            "name": "x",
            "licence": "none",
            "device": device,
            "devices": devices,
            "memory_mb": memory_mb,
            "price": "0",
        }
    )
