"""Put emoji-64 together from what train.py and decoder.py left, as a folder for diffusers."""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from training.emoji64.captions import WORK
from training.emoji64.train import SCHEDULE, Captioned, under


def assemble(state: Path, target: Path) -> int:
    """Write the pipeline with the averaged weights of `state`, in fp16; returns the step."""
    tensors = load_file(state)
    tokenizer = CLIPTokenizer.from_pretrained(WORK / "tokenizer")
    net = Captioned(len(tokenizer))
    net.load_state_dict(under(tensors, "ema."))
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(WORK / "vae"),
        text_encoder=net.text,
        tokenizer=tokenizer,
        unet=net.unet,
        scheduler=DPMSolverMultistepScheduler(**SCHEDULE, timestep_spacing="trailing"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(target)
    tidy(target)
    return int(tensors["step"])


def tidy(folder: Path) -> None:
    """Take this machine's paths out of the configurations."""
    for path in folder.rglob("*.json"):
        fields = json.loads(path.read_text())
        if isinstance(fields, dict) and fields.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(fields, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=WORK / "pipeline")
    parser.add_argument("--state", type=Path, default=WORK / "image" / "state.safetensors")
    options = parser.parse_args()
    step = assemble(options.state, options.target)
    size = sum(file.stat().st_size for file in options.target.rglob("*") if file.is_file())
    print(f"step {step}, {size / 1e6:.2f} MB in {options.target}")


if __name__ == "__main__":
    main()
