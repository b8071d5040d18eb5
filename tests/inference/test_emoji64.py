"""The weights that come with the program: small, only data, and they draw what they are asked."""

from pathlib import Path
from typing import Any

import pytest

from inference import weights
from inference.catalog import Catalog

# Told by torch's arrays to numpy 2.4, on the way through diffusers' schedulers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")

# What is asked, and the colour wanted in the picture's middle and in its corner (RGB, 0 to 1).
ASKED = {
    "a red apple on a white background": ((0.9, 0.2, 0.2), (1, 1, 1)),
    "a red apple on a white table": ((0.9, 0.2, 0.2), (1, 1, 1)),
    "a blue heart": ((0.24, 0.47, 0.88), (1, 1, 1)),
    "a yellow star on a black background": ((0.98, 0.86, 0.27), (0.08, 0.08, 0.09)),
    "a fox on a purple background": ((1, 0.5, 0.16), (0.55, 0.31, 0.78)),
}


@pytest.fixture(scope="module")
def folder(cards: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    nowhere = tmp_path_factory.mktemp("nowhere")
    return weights.find(cards.cards["emoji-64"], nowhere, nowhere).path("model")


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Any:
    """One picture for each prompt, N x 64 x 64 x 3 of 0 to 1."""
    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(ASKED))]
    return pipeline(
        list(ASKED), num_inference_steps=12, guidance_scale=2.0, generator=generators,
        output_type="np",
    ).images  # fmt: skip


def test_they_are_small(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 20_000_000


@pytest.mark.parametrize("number", range(len(ASKED)), ids=list(ASKED))
def test_they_draw_what_is_asked(number: int, pictures: Any) -> None:
    middle, corner = list(ASKED.values())[number]
    picture = pictures[number]
    assert abs(picture[28:40, 26:38].mean((0, 1)) - middle).max() < 0.25
    assert abs(picture[:4, :4].mean((0, 1)) - corner).max() < 0.15
