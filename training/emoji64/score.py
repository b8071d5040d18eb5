"""Say how well emoji-64 draws: every concept, every background word, every dye.

A picture counts as what its nearest training picture shows, by the mean colours of 16x16 cells.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from training.emoji64.captions import (
    BACKGROUNDS,
    DYES,
    WORK,
    Picture,
    pictures,
    vocabulary,
    with_article,
)
from training.emoji64.data import SIZE, Array

CELLS = 16
SHEET = (
    "a red apple on a white background",
    "a fox",
    "a rocket on a blue background",
    "a yellow banana",
    "a green frog",
    "a snowman",
    "a red heart",
    "a cat",
    "a dog",
    "a blue car",
    "a tree",
    "a house",
    "a yellow star on a black background",
    "a slice of pizza",
    "a sunflower",
    "a penguin on a pink background",
    "a purple octopus",
    "a guitar",
    "an airplane on an orange background",
    "a blue apple",
    "a rainbow",
    "a robot",
    "a pink elephant",
    "a birthday cake",
    "a green book on a brown background",
    "a bicycle",
    "a castle on a purple background",
    "a teddy bear",
    "a red umbrella on a gray background",
    "a butterfly",
    "a dinosaur on a yellow background",
    "a cup of coffee",
)


@dataclass(frozen=True, slots=True)
class Artist:
    """A pipeline with the settings that pictures are asked for."""

    pipeline: StableDiffusionPipeline
    steps: int
    guidance: float

    def draw(self, prompts: list[str], seed: int) -> Array:
        """One picture for each prompt, N x 64 x 64 x 3 of 0 to 1; seeds count up from `seed`."""
        rows = []
        for start in range(0, len(prompts), 32):
            some = prompts[start : start + 32]
            seeds = range(seed + start, seed + start + len(some))
            drawn = self.pipeline(
                some,
                width=SIZE,
                height=SIZE,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                generator=[torch.Generator().manual_seed(number) for number in seeds],
                output_type="np",
            )
            rows.append(drawn.images)
        return np.concatenate(rows)


def cells(images: Array) -> Array:
    """N x 64 x 64 x 3 as N x 768 mean colours."""
    side = SIZE // CELLS
    split = images.reshape(len(images), CELLS, side, CELLS, side, 3)
    means: Array = split.mean((2, 4)).reshape(len(images), -1)
    return means


def nearest(images: Array, known: Array) -> tuple[Array, Array]:
    """For each picture the index of the most similar known one, and its RMS difference."""
    ours, theirs = cells(images), cells(known)
    apart = (ours**2).sum(1)[:, None] + (theirs**2).sum(1)[None] - 2 * ours @ theirs.T
    return apart.argmin(1), np.sqrt(np.maximum(apart.min(1), 0) / ours.shape[1])


def asked(picture: Picture, name: str) -> str:
    """The plain way to ask for a picture."""
    words = with_article(f"{picture.dye} {name}" if picture.dye else name)
    article = "an" if picture.background == "orange" else "a"
    return f"{words} on {article} {picture.background} background"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=WORK / "pipeline-image")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--sheet", type=Path, help="also write a sheet of pictures here")
    parser.add_argument("--brief", action="store_true", help="only the concepts on white")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = StableDiffusionPipeline.from_pretrained(
        options.folder, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    artist = Artist(pipeline, options.steps, options.guidance)
    if options.sheet:
        sheet(artist, options.sheet)
    concepts = vocabulary()
    every = pictures(concepts)
    known = np.load(WORK / "data.npz")["images"] / np.float32(255)
    identity(artist, known, every, [c.name for c in concepts], options.seeds)
    if not options.brief:
        obedience(artist, known, every, [c.name for c in concepts])


def identity(
    artist: Artist, known: Array, every: list[Picture], names: list[str], seeds: int
) -> None:
    """Print top-1 over the vocabulary, on white, in own colours, and what fails."""
    plain = [i for i, p in enumerate(every) if p.dye is None and p.background == "white"]
    failed: Counter[str] = Counter()
    differences: list[float] = []
    began = time.monotonic()
    for seed in range(seeds):
        found, apart = nearest(artist.draw([with_article(n) for n in names], 1000 * seed), known)
        differences += apart.tolist()
        for concept, index in enumerate(found):
            if every[index].concept != concept:
                failed[f"{names[concept]} (as {names[every[index].concept]})"] += 1
    count = len(plain) * seeds
    each = (time.monotonic() - began) / count
    print(f"top-1: {1 - failed.total() / count:.1%} of {count}; {each:.2f} s each, 32 at a time")
    print("difference from the nearest training picture, RMS of 1:", end=" ")
    print(", ".join(f"{q}% {np.percentile(differences, q):.3f}" for q in (10, 50, 90)))
    print(f"failed of {seeds}:", ", ".join(f"{what} {n}" for what, n in failed.most_common()))


def obedience(artist: Artist, known: Array, every: list[Picture], names: list[str]) -> None:
    """Print how often things, dyes and backgrounds are right where colours are asked for."""
    rng = np.random.default_rng(0)
    dyes = [i for i, p in enumerate(every) if p.dye in DYES]
    places = [i for i, p in enumerate(every) if p.dye is None]
    for title, pool in (("dyed", dyes), ("in own colours", places)):
        chosen = rng.choice(pool, 160, replace=False)
        prompts = [asked(every[i], names[every[i].concept]) for i in chosen]
        found, _ = nearest(artist.draw(prompts, 5000), known)
        pairs = [(every[i], every[j]) for i, j in zip(chosen, found, strict=True)]
        for word in ("concept", "dye", "background"):
            right = sum(getattr(a, word) == getattr(b, word) for a, b in pairs)
            print(f"{title}, {len(BACKGROUNDS)} backgrounds: {word} right {right} of {len(pairs)}")


def sheet(artist: Artist, path: Path) -> None:
    """Write the prompts of SHEET, two seeds each, eight prompts in a row."""
    rows = []
    for seed in (0, 100):
        drawn = artist.draw(list(SHEET), seed).reshape(-1, 8, SIZE, SIZE, 3)
        rows.append(drawn)
    grid = np.stack(rows, 1).reshape(-1, 8, SIZE, SIZE, 3)
    flat = grid.transpose(0, 2, 1, 3, 4).reshape(len(grid) * SIZE, 8 * SIZE, 3)
    picture = Image.fromarray((flat * 255).round().astype(np.uint8))
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(path)


if __name__ == "__main__":
    main()
