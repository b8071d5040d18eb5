"""Say how well emoji-64-video moves: every subject and every motion, on white.

A drift must carry the middle of the drawn area the right way, growing and shrinking must change the
area; what is shown, and whether it turns, is what the nearest training clip shows.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from diffusers import AnimateDiffPipeline
from PIL import Image

from training.emoji64.captions import WORK, with_article
from training.emoji64.clips import DRIFTS, FRAMES, MOTIONS, REACH, SUBJECTS, clips
from training.emoji64.data import SIZE, Array
from training.emoji64.score import cells

# A pixel that differs by more than this from white, of 1, is drawn upon.
DRAWN = 0.15


def draw(pipeline: AnimateDiffPipeline, prompts: list[str], seed: int, steps: int) -> Array:
    """A clip for each prompt, N x frames x 64 x 64 x 3 of 0 to 1; seeds count up from `seed`."""
    rows = []
    for start in range(0, len(prompts), 8):
        some = prompts[start : start + 8]
        seeds = range(seed + start, seed + start + len(some))
        made = pipeline(
            some,
            num_frames=FRAMES,
            width=SIZE,
            height=SIZE,
            num_inference_steps=steps,
            guidance_scale=pipeline.asked_guidance,
            generator=[torch.Generator().manual_seed(number) for number in seeds],
            output_type="np",
        )
        rows.append(np.asarray(made.frames))
    return np.concatenate(rows)


def middle(frame: Array) -> tuple[Array, float]:
    """The middle of what is drawn on white, in pixels across and down, and its share of all."""
    drawn = (1 - frame).max(-1) > DRAWN
    down, across = np.nonzero(drawn)
    if not len(down):
        return np.zeros(2), 0.0
    return np.array([across.mean(), down.mean()]), float(drawn.mean())


def moves(clip: Array, motion: str) -> bool:
    """Whether a clip does what `motion` says; turning is judged elsewhere."""
    (first, small), (last, large) = middle(clip[0]), middle(clip[-1])
    if motion in DRIFTS:
        way = np.array(DRIFTS[motion])
        along = float((last - first) @ way)
        aside = float(np.abs((last - first) @ way[::-1]))
        return along > REACH and aside < REACH / 2
    ratio = large / max(small, 1e-6)
    return ratio > 2 if motion == "growing" else ratio < 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=WORK / "pipeline-film")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--sheet", type=Path, help="also write a sheet of clips here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = AnimateDiffPipeline.from_pretrained(
        options.folder, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.asked_guidance = options.guidance
    every = [(subject, motion) for subject in SUBJECTS for motion in MOTIONS]
    prompts = [f"{with_article(subject)} {MOTIONS[motion][0]}" for subject, motion in every]
    plain = [n for n, clip in enumerate(clips()) if clip.dye is None and clip.background == "white"]
    known = np.load(WORK / "clips.npz")["pixels"][plain] / np.float32(255)
    theirs = cells(known.reshape(-1, SIZE, SIZE, 3)).reshape(len(known), -1)
    wrong: Counter[str] = Counter()
    right: Counter[str] = Counter()
    began = time.monotonic()
    for seed in range(options.seeds):
        made = draw(pipeline, prompts, 1000 * seed, options.steps)
        ours = cells(made.reshape(-1, SIZE, SIZE, 3)).reshape(len(made), -1)
        for number, (subject, motion) in enumerate(every):
            nearest = every[int(((theirs - ours[number]) ** 2).sum(1).argmin())]
            turning = motion == "turning"
            moved = nearest[1] == motion if turning else moves(made[number], motion)
            right["subject"] += nearest[0] == subject
            right[f"motion {motion}"] += moved
            right["subject and motion"] += nearest[0] == subject and moved
            if nearest[0] != subject:
                wrong[f"{prompts[number]} (as {nearest[0]})"] += 1
            elif not moved:
                wrong[f"{prompts[number]} (moves otherwise)"] += 1
        if options.sheet and not seed:
            sheet(made, options.sheet)
    count = len(every) * options.seeds
    print(f"{(time.monotonic() - began) / count:.2f} s each, 8 at a time")
    for what, number in right.items():
        of = count // len(MOTIONS) if what.startswith("motion") else count
        print(f"{what}: {number} of {of}, {number / of:.0%}")
    print("wrong:", ", ".join(f"{what} {number}" for what, number in wrong.most_common()))


def sheet(made: Array, path: Path) -> None:
    """Write one clip of each subject with the motions in turn, two clips in a row."""
    chosen = [made[n * len(MOTIONS) + n % len(MOTIONS)] for n in range(len(SUBJECTS))]
    strips = [np.concatenate(list(clip), 1) for clip in chosen]
    rows = [np.concatenate(strips[n : n + 2], 1) for n in range(0, len(strips), 2)]
    Image.fromarray((np.concatenate(rows) * 255).round().astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
