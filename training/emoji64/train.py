"""Train the text encoder and the UNet of emoji-64 together, on latents that data.py prepared.

Goes on from `work/image/state.safetensors` where there is one.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.emoji64.captions import WORK, caption, pictures, vocabulary
from training.emoji64.data import CHANNELS, PATCH, SIZE, TOKENS

SCHEDULE = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
WIDTH = 128  # of the text encoder


def text_encoder(tokens: int) -> CLIPTextModel:
    """A small CLIP text encoder for a vocabulary of `tokens`."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokens,
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            projection_dim=WIDTH,
        )
    )


def unet() -> UNet2DConditionModel:
    """The denoiser of 8x8 latents. The caption also enters as one vector beside the time."""
    return UNet2DConditionModel(
        sample_size=SIZE // PATCH,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(96, 160),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


class Captioned(torch.nn.Module):
    """The two networks that are trained together: from noisy latents and tokens to velocity."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.text = text_encoder(tokens)
        self.unet = unet()

    def forward(
        self, noisy: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        states = self.text(tokens).last_hidden_state
        velocity: torch.Tensor = self.unet(noisy, time, states).sample
        return velocity


@dataclass(slots=True)
class Batches:
    """Random latents with captions; one caption in ten is empty, for guidance."""

    tokenizer: CLIPTokenizer
    size: int
    seed: int

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        concepts = vocabulary()
        every = pictures(concepts)
        latents = torch.from_numpy(np.load(WORK / "data.npz")["latents"])
        rng = random.Random(self.seed)
        plain = [p.dye is None for p in every]
        white = [p.background == "white" for p in every]
        # By concept, then own colours or dyed, then white or another background.
        groups: list[dict[tuple[bool, bool], list[int]]] = [{} for _ in concepts]
        for index, picture in enumerate(every):
            key = plain[index], white[index]
            groups[picture.concept].setdefault(key, []).append(index)
        while True:
            chosen: list[int] = []
            for group in rng.choices(groups, k=self.size):
                own = (False, True) not in group or rng.random() < 0.65
                chosen.append(rng.choice(group[own, rng.random() < 0.6]))
            words = [
                "" if rng.random() < 0.1 else caption(every[i], concepts[every[i].concept], rng)
                for i in chosen
            ]
            yield latents[chosen], tokens_of(self.tokenizer, words)


def tokens_of(tokenizer: CLIPTokenizer, words: list[str]) -> torch.Tensor:
    """Captions as N x 24 token ids, padded as the pipeline does it."""
    encoded = tokenizer(
        words, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    )
    ids: torch.Tensor = encoded.input_ids
    return ids


def parser(
    description: str | None, folder: Path, steps: int, batch: int
) -> argparse.ArgumentParser:
    """What training can be told, with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=steps, help="where the learning rate ends")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long, at most")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--late", type=float, default=0.0, help="share of nearly pure noise")
    parser.add_argument("--folder", type=Path, default=folder)
    return parser


def main() -> None:
    options = parser(__doc__, WORK / "image", steps=3400, batch=40).parse_args()
    tokenizer = CLIPTokenizer.from_pretrained(WORK / "tokenizer")
    train(options, lambda: Captioned(len(tokenizer)), lambda n, s: Batches(tokenizer, n, s))


def train(
    options: argparse.Namespace,
    new: Callable[[], torch.nn.Module],
    examples: Callable[[int, int], Iterable[tuple[torch.Tensor, torch.Tensor]]],
) -> None:
    """Train up to `options.steps`, or for `options.minutes`, saving every few minutes.

    `new` makes the network, `examples` batches of a size from a seed.
    """
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    net = new()
    ema = new().requires_grad_(False)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=1e-3, fused=True
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    state = options.folder / "state.safetensors"
    done = resume(state, net, ema, optimiser)
    print(
        f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M weights, step {done}", flush=True
    )
    if not done:
        ema.load_state_dict(net.state_dict())
    scheduler = DDPMScheduler(**SCHEDULE)
    # A seed for each leg, so that going on does not show the same batches again.
    batches = iter(examples(options.batch, options.seed + done))
    torch.manual_seed(options.seed + done)
    began = saved = time.monotonic()
    first, losses = done, []
    while done < options.steps and time.monotonic() - began < options.minutes * 60:
        for group in optimiser.param_groups:
            group["lr"] = rate(done, options)
        latents, tokens = next(batches)
        noise = torch.randn_like(latents)
        when = times(len(latents), options.late)
        # Attention in its plain form: the fused one is slow backwards in bfloat16.
        with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
            guess = net(scheduler.add_noise(latents, noise, when), when, tokens)
        loss = (guess.float() - scheduler.get_velocity(latents, noise, when)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        done += 1
        keep = min(0.998, (1 + done) / (10 + done))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - keep)
        losses.append(loss.item())
        if done % 50 == 0:
            each = (time.monotonic() - began) / (done - first)
            print(f"step {done} loss {np.mean(losses[-50:]):.4f} {each:.3f} s/step", flush=True)
        if time.monotonic() - saved > 180:
            save(state, net, ema, optimiser, done)
            saved = time.monotonic()
    save(state, net, ema, optimiser, done)
    print(f"stopped at step {done}", flush=True)


def times(count: int, late: float) -> torch.Tensor:
    """Noise levels to learn from, 0 to 999; a share `late` of them are of the last 25.

    Mostly much noise: there it is decided what is drawn. The more values a thing has, the sooner
    its noisy version gives it away, and the nearer to pure noise the caption has to be learned.
    """
    level = torch.rand(count) ** 0.3
    level = torch.where(torch.rand(count) < late, 1 - 0.025 * torch.rand(count), level)
    return (999.99 * level).long()


def rate(step: int, options: argparse.Namespace) -> float:
    """A short warm-up, then level, then down in a line over the last two thirds."""
    left = 1 - step / options.steps
    rate: float = options.rate * min(1, (step + 1) / 100) * min(1, 1.5 * left) + 1e-5
    return rate


def save(
    path: Path,
    net: torch.nn.Module,
    ema: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    """Write everything that going on needs; whole or not at all."""
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in ema.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        for name in ("exp_avg", "exp_avg_sq", "step"):
            tensors[f"moments.{index}.{name}"] = moments[name]
    tensors["step"] = torch.tensor(step)
    part = path.with_suffix(".part")
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, part)
    part.replace(path)


def resume(
    path: Path, net: torch.nn.Module, ema: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> int:
    """Load what `save` wrote; returns the step, 0 where nothing was saved."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    net.load_state_dict(under(tensors, "net."))
    ema.load_state_dict(under(tensors, "ema."))
    state = optimiser.state_dict()
    for name, value in under(tensors, "moments.").items():
        index, _, moment = name.partition(".")
        state["state"].setdefault(int(index), {})[moment] = value
    optimiser.load_state_dict(state)
    return int(tensors["step"])


def under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


if __name__ == "__main__":
    main()
