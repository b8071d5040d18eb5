"""Put emoji-64 and emoji-64-video together from what training left, as folders for diffusers."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
)
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from training.emoji64.captions import WORK
from training.emoji64.film import Filmed, spatial, temporal
from training.emoji64.train import SCHEDULE, Captioned, under


def shared() -> dict[str, Any]:
    """The parts that both pipelines have."""
    return {
        "vae": AutoencoderKL.from_pretrained(WORK / "vae"),
        "tokenizer": CLIPTokenizer.from_pretrained(WORK / "tokenizer"),
        "scheduler": DPMSolverMultistepScheduler(**SCHEDULE, timestep_spacing="trailing"),
    }


def image(averaged: dict[str, torch.Tensor], target: Path) -> None:
    """Write emoji-64 with these weights, in fp16."""
    parts = shared()
    net = Captioned(len(parts["tokenizer"]))
    net.load_state_dict(averaged)
    pipeline = StableDiffusionPipeline(
        **parts,
        text_encoder=net.text,
        unet=net.unet,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(target)


def film(averaged: dict[str, torch.Tensor], target: Path) -> None:
    """Write emoji-64-video with these weights, in fp16."""
    parts = shared()
    net = Filmed(len(parts["tokenizer"]))
    net.load_state_dict(averaged)
    weights = net.unet.state_dict()
    frames, along = spatial(), temporal()
    frames.load_state_dict({n: t for n, t in weights.items() if "motion_modules" not in n})
    along.load_state_dict({n: t for n, t in weights.items() if "motion_modules" in n})
    pipeline = AnimateDiffPipeline(
        **parts, text_encoder=net.text, unet=frames, motion_adapter=along
    )
    pipeline.to(torch.float16).save_pretrained(target)
    # The pipeline has put the two together, and would store the second twice: it also takes a plain
    # UNet, and joins them when it is loaded.
    for file in (target / "unet").iterdir():
        file.unlink()
    frames.half().save_pretrained(target / "unet")
    index = target / "model_index.json"
    fields = json.loads(index.read_text())
    fields["unet"][1] = "UNet2DConditionModel"
    index.write_text(json.dumps(fields, indent=2) + "\n")


def tidy(folder: Path) -> None:
    """Take this machine's paths out of the configurations, and let everyone read the weights."""
    for path in folder.rglob("*.json"):
        fields = json.loads(path.read_text())
        if isinstance(fields, dict) and fields.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(fields, indent=2) + "\n")
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["image", "film"])
    parser.add_argument("target", type=Path, nargs="?", help="work/pipeline-image or -film")
    options = parser.parse_args()
    target = options.target or WORK / f"pipeline-{options.kind}"
    state = load_file(WORK / options.kind / "state.safetensors")
    {"image": image, "film": film}[options.kind](under(state, "ema."), target)
    tidy(target)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"step {int(state['step'])}, {size / 1e6:.2f} MB in {target}")


if __name__ == "__main__":
    main()
