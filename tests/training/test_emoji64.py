"""The training of emoji-64: captions say what is shown, and what was interrupted goes on."""

import argparse
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training.emoji64 import captions, clips, train


def test_captions_say_what_is_shown() -> None:
    concepts = captions.vocabulary()
    rng = random.Random(0)
    for picture in captions.pictures(concepts):
        concept = concepts[picture.concept]
        words = captions.caption(picture, concept, rng)
        assert any(name in words for name in (concept.name, *concept.also))
        assert not picture.dye or f"{picture.dye} " in words
        assert picture.background == "white" or picture.background in words
        assert "a orange" not in words


def test_no_picture_hides_its_subject() -> None:
    """A thing is not dyed in the colour of its background, nor in its own."""
    concepts = captions.vocabulary()
    dyed = [p for p in captions.pictures(concepts) if p.dye]
    assert dyed
    assert not [p for p in dyed if p.dye in (p.background, concepts[p.concept].colour)]


@pytest.mark.parametrize("motion", list(clips.DRIFTS))
def test_a_drift_goes_its_way(motion: str) -> None:
    across, down = clips.DRIFTS[motion]
    poses = [clips.pose(motion, frame) for frame in range(clips.FRAMES)]
    way = [pose.across * across + pose.down * down for pose in poses]
    assert way == sorted(way)
    assert way[0] == -way[-1] == -clips.REACH
    assert all(pose.across * down == pose.down * across == 0 for pose in poses)


def test_growing_is_shrinking_backwards() -> None:
    grown = [clips.pose("growing", frame).size for frame in range(clips.FRAMES)]
    shrunk = [clips.pose("shrinking", frame).size for frame in range(clips.FRAMES)]
    assert grown == sorted(grown)
    assert grown == pytest.approx(shrunk[::-1])


class Guess(torch.nn.Module):
    """The smallest thing that can be trained as the models are."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(1))

    def forward(
        self, noisy: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        return noisy * self.scale


def examples(size: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    while True:
        yield torch.ones(size, 1, 2, 2), torch.zeros(size, 1, dtype=torch.long)


def options(folder: Path, steps: int) -> argparse.Namespace:
    return train.parser(None, folder, steps=steps, batch=2).parse_args([])


def test_a_training_goes_on_where_it_was_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.train(options(tmp_path, 3), Guess, examples)
    first = load_file(tmp_path / "state.safetensors")
    train.train(options(tmp_path, 5), Guess, examples)
    second = load_file(tmp_path / "state.safetensors")
    assert (int(first["step"]), int(second["step"])) == (3, 5)
    assert float(second["moments.0.step"]) == 5
    assert first["net.scale"] != second["net.scale"]
    assert "step 3" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.part"))


def test_the_documentation_lists_every_word() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "emoji64.md").read_text()
    listed = page[page.index("**Animals.**") :]
    things = [thing for line in listed.splitlines() if line for thing in items(line)]
    assert things == [
        concept.name
        + (f" ({', '.join(concept.also)})" if concept.also else "")
        + ("*" if concept.recolour else "")
        for concept in captions.vocabulary()
    ]


def items(line: str) -> list[str]:
    """What a line lists, without its title and its full stop."""
    return re.split(r", (?![^(]*\))", line.partition(".** ")[2].rstrip("."))
