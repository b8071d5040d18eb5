"""Render the icons, dye them, and turn every picture into latents, once: `work/data.npz`.

Run with the folder that holds the unpacked npm package: see README.md.
"""

import argparse
import colorsys
import io
import json
import random
import re
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from training.emoji64.captions import (
    BACKGROUNDS,
    MOTIONS,
    OPENINGS,
    WORK,
    Concept,
    caption,
    pictures,
    vocabulary,
)

SIZE = 64
MARGIN = 3
PATCH = 8  # one latent is one patch of 8x8 pixels
CHANNELS = 16
TOKENS = 24
END = "<|endoftext|>"
# Colours within this share of the circle of hues from the icon's main hue are dyed with it.
NEAR = 0.09
HEX = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")

Array = np.ndarray


def raster(body: str, side: int) -> Image.Image:
    """An icon's SVG as an RGBA picture of `side` pixels."""
    # Imported here, as only who draws needs it; the trainings import this module too.
    import resvg_py

    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 32 32" width="{side}" height="{side}">{body}</svg>'
    )
    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))
    return picture.convert("RGBA")


def draw(body: str) -> Array:
    """An icon's SVG as RGBA of 64x64x4 bytes."""
    inner = SIZE - 2 * MARGIN
    small = raster(body, SIZE * 4).resize((inner, inner), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIZE, SIZE))
    canvas.paste(small, (MARGIN, MARGIN))
    return np.asarray(canvas)


def hsv(colour: str) -> tuple[float, float, float]:
    """A `#rgb` or `#rrggbb` as hue, saturation and value of 0 to 1."""
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return colorsys.rgb_to_hsv(red, green, blue)


def main_colour(rgba: Array) -> tuple[float, float, float]:
    """The hue that most of the picture has, with the mean saturation and value near it."""
    shown = rgba[rgba[..., 3] > 200][:, :3] / 255
    table = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in shown])
    weight = table[:, 1] * (table[:, 1] > 0.2)
    counts, _ = np.histogram(table[:, 0], bins=48, range=(0, 1), weights=weight)
    smooth = sum(np.roll(counts, shift) for shift in (-2, -1, 0, 1, 2))
    hue = (float(np.argmax(smooth)) + 0.5) / 48
    near = (apart(table[:, 0], hue) < NEAR) & (table[:, 1] > 0.2)
    return hue, float(table[near, 1].mean()), float(table[near, 2].mean())


def apart(hues: Array | float, hue: float) -> Array:
    """How far hues lie from `hue` on their circle, 0 to 0.5."""
    gap = np.abs(np.asarray(hues) - hue)
    shorter: Array = np.minimum(gap, 1 - gap)
    return shorter


def dyed(body: str, main: tuple[float, float, float], dye: str) -> str:
    """The SVG with its main hue's colours changed into `dye`, keeping light and shade."""
    red, green, blue = BACKGROUNDS[dye]
    target = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)

    def change(match: re.Match[str]) -> str:
        hue, saturation, value = hsv(match[0])
        if saturation < 0.2 or apart(hue, main[0]) >= NEAR:
            return match[0]
        new = colorsys.hsv_to_rgb(
            target[0],
            min(1, saturation * target[1] / main[1]),
            min(1, value * target[2] / main[2]),
        )
        return "#" + "".join(f"{round(channel * 255):02x}" for channel in new)

    return HEX.sub(change, body)


def over(rgba: Array, background: str) -> Array:
    """A picture (... x 4) laid on a plain background, as RGB of -1 to 1."""
    alpha = rgba[..., 3:] / 255
    return (rgba[..., :3] * alpha + np.array(BACKGROUNDS[background]) * (1 - alpha)) / 127.5 - 1


def patches(images: Array) -> Array:
    """N x 64 x 64 x 3 as N x 8 x 8 x 192: each patch's pixels in one vector."""
    count, cells = len(images), SIZE // PATCH
    split = images.reshape(count, cells, PATCH, cells, PATCH, 3)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(count, cells, cells, PATCH * PATCH * 3)


def principal(images: Array) -> tuple[Array, Array, Array]:
    """The map of a patch to its latents: the mean (192), the way there and the way back.

    Components are whitened half way, so that the large ones, which carry the
    shape, still weigh most in the loss.
    """
    flat = patches(images).reshape(-1, PATCH * PATCH * 3)
    mean = flat.mean(0)
    values, vectors = np.linalg.eigh(np.cov((flat - mean).T))
    values, vectors = values[::-1], vectors[:, ::-1]
    for count in (8, 16, 24, 32):
        print(f"{count} channels leave a squared error of {values[count:].sum() / len(values):.5f}")
    values, vectors = values[:CHANNELS], vectors[:, :CHANNELS]
    scale = values**-0.25
    scale = scale / ((flat - mean) @ (vectors * scale)).std()
    return mean, vectors * scale, (vectors / scale).T


def train_tokenizer(concepts: list[Concept], folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer in which every word of our captions is one token."""
    rng = random.Random(0)
    every = pictures(concepts)
    corpus = [caption(p, concepts[p.concept], rng) for p in rng.choices(every, k=40000)]
    corpus += [f"{line} {' '.join(MOTIONS)} {' '.join(OPENINGS)}" for line in corpus[:2000]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=1600,
            special_tokens=["<|startoftext|>", END],
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
        ),
    )
    model = json.loads(bpe.to_str())["model"]
    tokens: dict[str, int] = model["vocab"]
    for letter in alphabet:  # CLIP falls back on single letters, inside a word and at its end
        for token in (letter, letter + "</w>"):
            tokens.setdefault(token, len(tokens))
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokenizer = CLIPTokenizer(vocab=tokens, merges=merges, model_max_length=TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("icons", type=Path, help="the unpacked @iconify-json/fluent-emoji-flat")
    icons = json.loads((parser.parse_args().icons / "icons.json").read_text())["icons"]
    concepts = vocabulary()
    every = pictures(concepts)
    drawn: dict[tuple[int, str | None], Array] = {}
    for number, concept in enumerate(concepts):
        body = icons[concept.icon]["body"]
        drawn[number, None] = draw(body)
        if concept.recolour:
            main_of = main_colour(drawn[number, None])
            for dye in {p.dye for p in every if p.concept == number and p.dye}:
                drawn[number, dye] = draw(dyed(body, main_of, dye))
    images = np.stack([over(drawn[p.concept, p.dye], p.background) for p in every])
    print(f"{len(concepts)} concepts, {len(drawn)} drawings, {len(images)} pictures")
    sample = np.random.default_rng(0).choice(len(images), 1500, replace=False)
    mean, there, back = principal(images[sample])
    latents = ((patches(images) - mean) @ there).transpose(0, 3, 1, 2)
    print("latents' standard deviation by channel:", latents.std((0, 2, 3)).round(2))
    WORK.mkdir(exist_ok=True)
    keys = list(drawn)
    np.savez(
        WORK / "data.npz",
        drawings=np.stack([drawn[key] for key in keys]),
        drawing_of=np.array([keys.index((p.concept, p.dye)) for p in every]),
        images=((images + 1) * 127.5).round().astype(np.uint8),
        latents=latents.astype(np.float32),
        mean=mean.astype(np.float32),
        there=there.astype(np.float32),
        back=back.astype(np.float32),
    )
    tokenizer = train_tokenizer(concepts, WORK / "tokenizer")
    long = max((f"a photo of a red {c.name} on an orange background" for c in concepts), key=len)
    print(f"{len(tokenizer)} tokens; {tokenizer.tokenize(long)}")
    own = [drawn[n, None] for n in range(len(concepts))]
    dyes = [drawn[n, p] for n, p in drawn if p]
    for name, row in (("own", own), ("dyed", dyes)):
        grid = Image.new("RGB", (SIZE * 24, SIZE * (len(row) // 24 + 1)), "white")
        for place, rgba in enumerate(row):
            icon = Image.fromarray(rgba)
            grid.paste(icon, (place % 24 * SIZE, place // 24 * SIZE), icon)
        grid.save(WORK / f"{name}.png")


if __name__ == "__main__":
    main()
