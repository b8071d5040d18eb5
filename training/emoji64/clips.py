"""The clips of emoji-64-video: a few subjects, seven ways to move, and what is said of them.

Run with the folder that holds the unpacked npm package, after data.py: makes `work/clips.npz`.
"""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training.emoji64.captions import BACKGROUNDS, DYES, WORK, Concept, vocabulary, with_article
from training.emoji64.data import SIZE, Array, dyed, main_colour, over, patches, raster

FRAMES = 8
LARGE = 256  # icons are moved at this size and then made small
SUBJECTS = (
    "fox", "cat", "panda", "frog", "penguin", "fish", "apple", "car", "rocket", "sun", "star",
    "heart", "ghost", "balloon",
)  # fmt: skip
# What a motion is called; the first is the usual word.
MOTIONS = {
    "left": ("drifting to the left", "moving to the left"),
    "right": ("drifting to the right", "moving to the right"),
    "up": ("drifting up", "moving up"),
    "down": ("drifting down", "moving down"),
    "growing": ("growing",),
    "shrinking": ("shrinking",),
    "turning": ("turning", "spinning"),
}
DRIFTS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
REACH = 14  # pixels from the middle at which a drift begins and ends


@dataclass(frozen=True, slots=True)
class Clip:
    """What one training clip shows; `dye` is None in the icon's own colours."""

    subject: str
    motion: str
    dye: str | None
    background: str


@dataclass(frozen=True, slots=True)
class Pose:
    """How a subject stands in one frame: pixels from the middle, size of 1, turns clockwise."""

    across: float = 0.0
    down: float = 0.0
    size: float = 0.9
    turns: float = 0.0


def pose(motion: str, frame: int) -> Pose:
    """Where `motion` has brought its subject in `frame`, of 0 to FRAMES - 1."""
    share = frame / (FRAMES - 1)
    if motion in DRIFTS:
        across, down = DRIFTS[motion]
        way = REACH * (2 * share - 1)
        return Pose(across * way, down * way, size=0.6)
    if motion == "turning":
        return Pose(size=0.75, turns=frame / FRAMES)
    grown = 0.35 + 0.6 * share
    return Pose(size=grown if motion == "growing" else 1.3 - grown)


def posed(icon: Image.Image, pose: Pose) -> Array:
    """One frame's subject as RGBA of 64x64x4 bytes; `icon` is square, of LARGE pixels."""
    middle = (LARGE - 1) / 2
    grid = LARGE / SIZE
    angle = 2 * np.pi * pose.turns
    cos, sin = np.cos(angle) / pose.size, np.sin(angle) / pose.size
    x, y = middle + pose.across * grid, middle + pose.down * grid
    # PIL wants the way from the new picture's pixels back to the old one's.
    back = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    large = icon.transform(
        icon.size, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC, fillcolor=(0, 0, 0, 0)
    )
    return np.asarray(large.resize((SIZE, SIZE), Image.Resampling.BOX))


def clips() -> list[Clip]:
    """Every clip that training can draw from: dyed ones only on white."""
    concepts = {concept.name: concept for concept in vocabulary()}
    found = []
    for subject in SUBJECTS:
        for motion in MOTIONS:
            found += [Clip(subject, motion, None, background) for background in BACKGROUNDS]
            if concepts[subject].recolour:
                dyes = [dye for dye in DYES if dye != concepts[subject].colour]
                found += [Clip(subject, motion, dye, "white") for dye in dyes]
    return found


def caption(clip: Clip, concept: Concept, rng: random.Random) -> str:
    """One of the ways to ask for `clip`."""
    name = rng.choice(concept.also) if concept.also and rng.random() < 0.15 else concept.name
    if clip.dye:
        name = f"{clip.dye} {name}"
    elif concept.colour and rng.random() < 0.25:
        name = f"{concept.colour} {name}"
    motion = rng.choice(MOTIONS[clip.motion])
    if clip.motion not in DRIFTS and rng.random() < 0.4:
        words = with_article(f"{motion} {name}")
    else:
        words = f"{with_article(name)} {motion}"
    if clip.background == "white" and rng.random() < 0.75:
        return words
    article = "an" if clip.background == "orange" else "a"
    return f"{words} on {article} {clip.background} background"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("icons", type=Path, help="the unpacked @iconify-json/fluent-emoji-flat")
    icons = json.loads((parser.parse_args().icons / "icons.json").read_text())["icons"]
    concepts = {concept.name: concept for concept in vocabulary()}
    principal = np.load(WORK / "data.npz")
    frames: dict[tuple[str, str | None, str], Array] = {}
    latents, pixels = [], []
    every = clips()
    for clip in every:
        key = clip.subject, clip.dye, clip.motion
        if key not in frames:
            body = icons[concepts[clip.subject].icon]["body"]
            if clip.dye:
                body = dyed(body, main_colour(np.asarray(raster(body, SIZE))), clip.dye)
            icon = raster(body, LARGE)
            frames[key] = np.stack([posed(icon, pose(clip.motion, n)) for n in range(FRAMES)])
        shown = over(frames[key], clip.background).astype(np.float32)
        latents.append((patches(shown) - principal["mean"]) @ principal["there"])
        pixels.append(((shown + 1) * 127.5).round().astype(np.uint8))
    np.savez(
        WORK / "clips.npz",
        # Clips x channels x frames x 8 x 8, as the UNet wants them.
        latents=np.stack(latents).transpose(0, 4, 1, 2, 3).astype(np.float32),
        pixels=np.stack(pixels),
    )
    print(f"{len(SUBJECTS)} subjects, {len(every)} clips, {len(frames)} without backgrounds")
    chosen = [n for n, clip in enumerate(every) if clip.dye is None and clip.background == "white"]
    some = np.stack([pixels[n] for n in chosen[:28]])
    rows = [np.concatenate(list(row), 1) for row in some.reshape(14, 2 * FRAMES, SIZE, SIZE, 3)]
    Image.fromarray(np.concatenate(rows)).save(WORK / "clips.png")


if __name__ == "__main__":
    main()
