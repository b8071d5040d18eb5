"""Train emoji-64-video on the clips that clips.py prepared, from the image model's text encoder.

Goes on from `work/film/state.safetensors` where there is one.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from training.emoji64.captions import WORK, vocabulary
from training.emoji64.clips import FRAMES, MOTIONS, caption, clips
from training.emoji64.data import CHANNELS, PATCH, SIZE
from training.emoji64.train import WIDTH, parser, text_encoder, tokens_of, train, under

BLOCKS = (96, 128)


def spatial() -> UNet2DConditionModel:
    """The part that draws single frames; a motion UNet knows no captions beside the time."""
    return UNet2DConditionModel(
        sample_size=SIZE // PATCH,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=BLOCKS,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def temporal() -> MotionAdapter:
    """The part that looks along the frames."""
    return MotionAdapter(
        block_out_channels=BLOCKS,
        motion_layers_per_block=1,
        motion_num_attention_heads=4,
        motion_norm_num_groups=16,
        motion_max_seq_length=FRAMES,
    )


class Filmed(torch.nn.Module):
    """The networks that are trained together: from noisy clips and tokens to velocity."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.text = text_encoder(tokens)
        self.unet = UNetMotionModel.from_unet2d(spatial(), temporal())

    def forward(
        self, noisy: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        states = self.text(tokens).last_hidden_state
        states = states.repeat_interleave(noisy.shape[2], dim=0)
        velocity: torch.Tensor = self.unet(noisy, time, states).sample
        return velocity


def begun(tokenizer: CLIPTokenizer) -> Filmed:
    """New networks with what fits of the image model's weights."""
    net = Filmed(len(tokenizer))
    image = WORK / "image" / "state.safetensors"
    known = under(load_file(image), "ema.")
    ours = net.state_dict()
    fits = {n: t for n, t in known.items() if n in ours and ours[n].shape == t.shape}
    net.load_state_dict(ours | fits)
    spread(net, tokenizer)
    return net


def spread(net: Filmed, tokenizer: CLIPTokenizer) -> None:
    """Set the words of motion far apart.

    The image model has not read them, so they are nearly alike, and as long as they are, a film
    of "left" and one of "right" have no reason to differ.
    """
    words = {word for names in MOTIONS.values() for name in names for word in name.split()[-1:]}
    ids = [tokenizer.convert_tokens_to_ids(f"{word}</w>") for word in sorted(words)]
    with torch.no_grad():
        table = net.text.get_input_embeddings().weight
        table[ids] = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(0)) / 6


@dataclass(slots=True)
class Batches:
    """Random clips with captions; one caption in ten is empty, for guidance."""

    tokenizer: CLIPTokenizer
    size: int
    seed: int

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        concepts = {concept.name: concept for concept in vocabulary()}
        every = clips()
        latents = torch.from_numpy(np.load(WORK / "clips.npz")["latents"])
        rng = random.Random(self.seed)
        plain: list[int] = []
        placed: list[int] = []
        dyed: list[int] = []
        for index, clip in enumerate(every):
            own = plain if clip.background == "white" else placed
            (own if clip.dye is None else dyed).append(index)
        while True:
            kinds = rng.choices([plain, placed, dyed], weights=[6, 2, 2], k=self.size)
            chosen = [rng.choice(kind) for kind in kinds]
            words = [
                "" if rng.random() < 0.1 else caption(every[i], concepts[every[i].subject], rng)
                for i in chosen
            ]
            yield latents[chosen], tokens_of(self.tokenizer, words)


def main() -> None:
    arguments = parser(__doc__, WORK / "film", steps=4000, batch=5)
    arguments.set_defaults(late=0.5)
    options = arguments.parse_args()
    tokenizer = CLIPTokenizer.from_pretrained(WORK / "tokenizer")
    train(options, lambda: begun(tokenizer), lambda n, s: Batches(tokenizer, n, s))


if __name__ == "__main__":
    main()
