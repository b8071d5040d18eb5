"""The catalog: what a card says, and how a mistake in one is told."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from inference import catalog, engines
from inference.errors import CatalogError, EngineUnavailable
from inference.types import Device, Kind
from inference.weights import HUB, Weights

CARD = """
[tiny]
kind = "text"
engine = "echo"
name = "Tiny"
licence = "none"
memory_mb = 10
price = "0.001"
context = 100
"""

# What the original service charges, in USD.
PRICES = {
    "flux-schnell": "0.008", "flux-dev": "0.025", "sdxl": "0.005", "zimage": "0.008",
    "kokoro": "0.002", "chatterbox": "0.005", "wan-t2v": "0.30", "qwen3-8b": "0.01",
    "gemma3:4b": "0.01", "deepseek-r1": "0.01", "smollm2-135m": "0.001", "piper-joe": "0.001",
    "emoji-64": "0.001", "emoji-64-video": "0.005", "all-minilm-l6-v2": "0.0001",
    "pocketsphinx": "0.001", "whisper-large-v3-turbo": "0.006",
}  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "more.toml"
    path.write_text(text)
    return path


def test_the_prices() -> None:
    cards = catalog.load([]).cards
    assert {card.id: card.price for card in cards.values()} == {
        name: {"request": Decimal(price)} for name, price in PRICES.items()
    }


def test_every_hub_source_is_pinned_to_a_commit() -> None:
    for card in catalog.load([]).cards.values():
        for source in card.files.values():
            for text in source.sources:
                if text.startswith("hub:"):
                    match = HUB.fullmatch(text.removeprefix("hub:"))
                    assert match is not None
                    assert len(match["revision"]) == 40


def test_voices_stand_in_for_openais() -> None:
    for card in catalog.load([]).cards.values():
        assert set(card.voice_aliases.values()) <= set(card.voices)
        if card.voices:
            assert card.default_voice in card.voices
            assert len(card.voice_aliases) == 11


def test_a_name_finds_its_card() -> None:
    cards = catalog.load([])
    assert cards.find("gemma3:4b") == cards.find("gemma3") == cards.cards["gemma3:4b"]
    assert cards.find("gemma") is None
    assert cards.find("gemma3:7b") is None


def test_a_short_name_of_two_cards_finds_none(tmp_path: Path) -> None:
    text = CARD.replace("[tiny]", '["gemma3:12b"]')
    cards = catalog.load([write(tmp_path, text)])
    assert cards.find("gemma3") is None
    assert cards.find("gemma3:12b") is cards.cards["gemma3:12b"]


def test_an_exact_id_wins_over_a_short_name(tmp_path: Path) -> None:
    cards = catalog.load([write(tmp_path, CARD + CARD.replace("[tiny]", '["tiny:2"]'))])
    assert cards.find("tiny") is cards.cards["tiny"]


def test_an_operators_card_replaces_ours(tmp_path: Path) -> None:
    cards = catalog.load([write(tmp_path, CARD.replace("[tiny]", "[kokoro]"))])
    assert cards.cards["kokoro"].kind is Kind.TEXT
    assert len(cards.cards) == len(PRICES)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (('price = "0.001"', "price = 0.001"), "price.request"),
        (('price = "0.001"', 'price = "-1"'), "price.request"),
        (('price = "0.001"', 'price = "0.0000001"'), "price.request"),
        (('price = "0.001"', "price = { input_tokens = 0.1 }"), "price.input_tokens"),
        (('price = "0.001"', 'price = { megapixels = "0.1" }'), "the card as a whole"),
        (('price = "0.001"', "price = {}"), "price"),
        (('kind = "text"', 'kind = "smell"'), "kind"),
        (("memory_mb = 10", "memory_gb = 10"), "memory_gb"),
        (("memory_mb = 10", ""), "memory_mb"),
        (("context = 100", ""), "the card as a whole"),
        (('engine = "echo"', 'engine = "os.path"'), "engine"),
        (("context = 100", "context = 100\nfiles.model.sources = []"), "files.model.sources"),
        (
            (
                "context = 100",
                "context = 100\nparameters.temperature = {min = 1, max = 2, default = 0}",
            ),
            "parameters.temperature",
        ),
        (("context = 100", 'context = 100\nfiles.m.sources = ["package:a/b + c/d"]'), "files.m"),
        (("context = 100", "context = 100\nfootprint = {core_gb = 1}"), "footprint.encoder_gb"),
        (("memory_mb = 10", "memory_mb = 10\ndevices = 0"), "devices"),
        (("memory_mb = 10", "memory_mb = 10\ndevices = 2"), "the card as a whole"),
    ],
)
def test_a_mistake_names_the_file_the_card_and_the_field(
    change: tuple[str, str], field: str, tmp_path: Path
) -> None:
    path = write(tmp_path, CARD.replace(*change))
    with pytest.raises(CatalogError) as error:
        catalog.load([path])
    assert error.value.message.startswith(f"{path}, card tiny: ")
    assert f"{field}: " in error.value.message


@pytest.mark.parametrize("text", ["[tiny", "loose = 1"])
def test_a_file_that_is_no_catalog_is_named(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CatalogError, match=str(path)):
        catalog.load([path])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"gone\.toml"):
        catalog.load([tmp_path / "gone.toml"])


def test_an_engine_of_a_later_version_is_told_honestly() -> None:
    cards = catalog.load([]).cards
    later = cards["wan-t2v"].model_copy(update={"engine": "video_tomorrow"})
    message = "The engine video_tomorrow is not part of this version."
    assert engines.installed(later) == message
    with pytest.raises(EngineUnavailable, match=message):
        engines.load(later, Weights({}), Device())
    assert engines.installed(cards["smollm2-135m"]) is None


def test_not_every_engine_shares_a_model_out() -> None:
    card = catalog.load([]).cards["flux-schnell"].model_copy(update={"devices": 2})
    message = "The engine image_diffusers runs a model on one device, not on 2."
    assert engines.installed(card) == message


def test_reading_the_catalog_loads_no_engine() -> None:
    """The web process does this."""
    code = (
        "import sys; from inference import catalog, engines, weights;"
        "[engines.installed(card) for card in catalog.load([]).cards.values()];"
        "heavy = {'numpy', 'onnxruntime', 'xllamacpp', 'av', 'piper', 'kokoro_onnx', 'torch'};"
        "print(heavy & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
