"""Loading pipelines: which weights, in which numbers, and where they lie."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from inference import catalog, engines
from inference.catalog import Card
from inference.drawing import diffusion, previews
from inference.drawing.diffusion import Mode
from inference.drawing.placement import Plan, Residence
from inference.errors import InferenceError
from inference.types import Device
from inference.weights import Weights

Tiny = Callable[[str], Path]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")


def load(card: Card, folder: Path) -> diffusion.Model:
    return diffusion.load(card, folder, Device())


def assert_alike(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal, but for the last bits: two loads of the same weights lie differently in memory."""
    assert one.shape == other.shape
    assert torch.allclose(one, other, atol=1e-4)


def drawn(model: diffusion.Model, mode: Mode = Mode.TEXT, **more: Any) -> torch.Tensor:
    arguments = {"prompt": ["a fox"], "width": 32, "height": 32, "num_inference_steps": 2,
                 "generator": [torch.Generator().manual_seed(1)], "output_type": "pt"}  # fmt: skip
    return model.run(mode, {**arguments, **more}, lambda step: None).images


@pytest.mark.parametrize("name", ["flux-schnell", "sdxl", "zimage", "emoji-64"])
@pytest.mark.parametrize("residence", ["model offload", "group offload"])
def test_offloading_changes_nothing_but_the_place(
    name: str, residence: Residence, tiny: Tiny
) -> None:
    """From the CPU to the CPU, as there is no GPU here; the hooks are the same."""
    card = catalog.load([]).cards["sdxl"]
    resident = load(card, tiny(name))
    offloaded = load(card, tiny(name))
    diffusion.place(offloaded.pipe, Plan("half", residence), "cpu")
    red = Image.new("RGB", (32, 32), "red")
    for _ in range(2):
        assert_alike(drawn(offloaded), drawn(resident))
        changed = {"image": [red], "strength": 0.9}
        assert_alike(
            drawn(offloaded, Mode.IMAGE, **changed), drawn(resident, Mode.IMAGE, **changed)
        )

    def stop(step: diffusion.Step) -> None:
        raise InferenceError("enough")

    arguments = {"prompt": ["a fox"], "width": 32, "height": 32, "num_inference_steps": 2}
    with pytest.raises(InferenceError, match="enough"):
        offloaded.run(Mode.TEXT, arguments, stop)
    # Half a generation leaves nothing behind that the next would trip over.
    assert_alike(drawn(offloaded), drawn(resident))


def test_a_film_can_be_offloaded_too(tiny: Tiny) -> None:
    card = catalog.load([]).cards["wan-t2v"]
    arguments = {"prompt": ["a fox"], "width": 32, "height": 32, "num_frames": 5,
                 "num_inference_steps": 2, "output_type": "pt"}  # fmt: skip
    frames = []
    residences: list[Residence] = ["resident", "model offload", "group offload"]
    for residence in residences:
        model = load(card, tiny("wan-t2v"))
        diffusion.place(model.pipe, Plan("half", residence), "cpu")
        generator = [torch.Generator().manual_seed(1)]
        output = model.run(Mode.TEXT, {**arguments, "generator": generator}, lambda step: None)
        frames.append(output.frames)
    assert_alike(frames[0], frames[1])
    # This one decodes in tiles, whose seams are blended.
    assert frames[2].shape == frames[0].shape


def test_half_precision_files_are_found(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(tiny("sdxl"), folder)
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    card = catalog.load([]).cards["sdxl"]
    assert_alike(drawn(load(card, folder)), drawn(load(card, tiny("sdxl"))))


def test_pickles_are_not_loaded(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(tiny("flux-schnell"), folder)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save({}, file.with_suffix(".bin"))
    file.unlink()
    card = catalog.load([]).cards["flux-schnell"]
    with pytest.raises(InferenceError, match="could not be loaded"):
        engines.load(card, Weights({"model": folder}), Device())


def test_a_folders_own_code_is_not_run(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(tiny("flux-schnell"), folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(
        json.dumps({**index, "_class_name": ["mine", "FluxPipeline"]})
    )
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    card = catalog.load([]).cards["flux-schnell"]
    with pytest.raises(InferenceError, match="could not be loaded"):
        engines.load(card, Weights({"model": folder}), Device())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["flux-schnell", "sdxl", "emoji-64"])
def test_two_steps_show_where_they_are_heading(name: str, tiny: Tiny) -> None:
    """What a preview shows is what the scheduler itself takes the finished latents to be."""
    model = load(catalog.load([]).cards["sdxl"], tiny(name))
    scheduler = model.pipe.scheduler
    options = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(10, **options)
    picture, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def mixed(index: int) -> torch.Tensor:
        signal, share = previews._shares(scheduler, index)
        return signal * picture + share * noise

    found = previews.finished(scheduler, scheduler.timesteps[4], mixed(4), mixed(5))
    assert torch.allclose(found, picture, atol=1e-3)


def graphics(monkeypatch: pytest.MonkeyPatch, *, free_gb: float, capability: int) -> Device:
    """A GPU that is only asked what it is: nothing is put on it."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free_gb * 1e9, 80e9))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (capability, 0))
    return Device("cuda", 0)


def test_what_a_gpu_gets(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    cards = catalog.load([]).cards
    device = graphics(monkeypatch, free_gb=16, capability=8)
    plan = diffusion._plan(cards["flux-dev"], device)
    # bitsandbytes is not here, and it is said what that would change.
    assert plan.residence == "group offload"
    assert "flux-dev: With bitsandbytes" in caplog.text
    assert diffusion._plan(cards["sdxl"], device).residence == "resident"
    # No more than the fleet has set apart.
    small = Device("cuda", 0, memory_mb=8500)
    assert diffusion._plan(cards["sdxl"], small).residence == "model offload"
    assert diffusion._precisions(cards["wan-t2v"], plan, device) == {
        "default": torch.bfloat16, "vae": torch.float32,
    }  # fmt: skip
    quantized = diffusion._quantization(cards["flux-dev"], Plan("nf4", "resident"), device)
    config = quantized["quantization_config"]
    assert config.components_to_quantize == ["transformer", "text_encoder_2"]
    assert config.quant_kwargs["bnb_4bit_compute_dtype"] is torch.bfloat16
    assert diffusion._quantization(cards["flux-dev"], plan, device) == {}


def test_an_old_gpu_gets_float16_where_the_model_stands_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = catalog.load([]).cards
    device = graphics(monkeypatch, free_gb=80, capability=7)
    plan = Plan("half", "resident")
    assert diffusion._precisions(cards["sdxl"], plan, device) == {"default": torch.float16}
    assert diffusion._precisions(cards["flux-dev"], plan, device) == {"default": torch.bfloat16}
