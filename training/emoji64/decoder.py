"""Train the two halves of emoji-64's VAE, each against the fixed latents that data.py defines.

The UNet needs neither, so this can run beside its training. Goes on from what
`work/vae` holds only if told to (`--resume`).
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from training.emoji64.captions import BACKGROUNDS, WORK
from training.emoji64.data import CHANNELS, SIZE, Array, over, patches

# The encoder's log variance: it says that it is sure of its latents.
SURE = -30.0


def autoencoder() -> AutoencoderKL:
    """A small VAE that makes 64x64 pixels of 8x8 latents."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
    )


def moved(rgba: Array, rng: np.random.Generator) -> Array:
    """A drawing (64x64x4 bytes) turned, shrunk and pushed aside at random."""
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.5 else 0.0
    scale = rng.uniform(0.9, 2.2)
    centre = (SIZE - 1) / 2
    across, down = centre + rng.uniform(-16, 16, 2)
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    # PIL wants the way from the new picture's pixels back to the old one's.
    place = (
        *(cos, -sin, centre - cos * across + sin * down),
        *(sin, cos, centre - sin * across - cos * down),
    )
    shape = Image.fromarray(rgba).transform(
        (SIZE, SIZE), Image.Transform.AFFINE, place, Image.Resampling.BILINEAR
    )
    return np.asarray(shape)


def batches(size: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pictures (N x 3 x 64 x 64) with their latents; some as trained on, some moved about."""
    data = np.load(WORK / "data.npz")
    drawings, images = data["drawings"], data["images"]
    mean, there = data["mean"], data["there"]
    words = list(BACKGROUNDS)
    rng = np.random.default_rng(seed)
    while True:
        rows = []
        for _ in range(size):
            if rng.random() < 0.6:
                rows.append(images[rng.integers(len(images))] / 127.5 - 1)
            else:
                background = "white" if rng.random() < 0.4 else words[rng.integers(len(words))]
                shape = moved(drawings[rng.integers(len(drawings))], rng)
                rows.append(over(shape, background))
        pixels = np.stack(rows).astype(np.float32)
        latents = ((patches(pixels) - mean) @ there).transpose(0, 3, 1, 2)
        yield (
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))),
            torch.from_numpy(np.ascontiguousarray(latents)),
        )


def picture_loss(guess: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels and their steps to the next pixel: the second keeps edges sharp."""
    error = guess - pixels
    across, down = error.diff(dim=-1), error.diff(dim=-2)
    return (
        error.abs().mean() + 0.7 * error.square().mean() + across.abs().mean() + down.abs().mean()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("half", choices=["decoder", "encoder"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from work/vae")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    folder = WORK / "vae"
    vae = AutoencoderKL.from_pretrained(folder) if options.resume else autoencoder()
    half = getattr(vae, options.half)
    optimiser = torch.optim.AdamW(half.parameters(), lr=options.rate, betas=(0.9, 0.98))
    began = saved = time.monotonic()
    errors: list[float] = []
    for step, (pixels, latents) in enumerate(batches(options.batch, options.seed), 1):
        gone = (time.monotonic() - began) / (options.minutes * 60)
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, step / 50) * max(0, min(1, 1.6 * (1 - gone))) + 1e-5
        if options.half == "decoder":
            # The UNet's latents are never quite right.
            blur = 0.1 * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(latents)
            with torch.autocast("cpu", torch.bfloat16):
                guess = half(latents + blur).float()
            loss = picture_loss(guess, pixels)
            errors.append((guess - pixels).square().mean().item())
        else:
            with torch.autocast("cpu", torch.bfloat16):
                guess, sure = half(pixels).float().chunk(2, dim=1)
            loss = (guess - latents).square().mean()
            errors.append(loss.item())
            loss = loss + 1e-4 * (sure - SURE).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(half.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0:
            error = float(np.mean(errors[-100:]))
            signal = 10 * np.log10(4 / error)
            print(f"step {step} error {error:.5f}, as PSNR {signal:.1f} dB", flush=True)
        if gone >= 1 or time.monotonic() - saved > 180:
            vae.save_pretrained(folder)
            saved = time.monotonic()
        if gone >= 1:
            return


if __name__ == "__main__":
    main()
