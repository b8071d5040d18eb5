"""Which engine runs a card: looked up by the card's `engine`, imported only when loaded."""

import importlib
import importlib.util
from typing import cast

from inference.catalog import Card
from inference.errors import EngineUnavailable, InferenceError
from inference.types import Device, Engine, EngineModule
from inference.weights import Weights

DIFFUSION = {
    "torch": "torch",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "safetensors": "safetensors",
}
TRANSFORMERS = {
    "torch": "torch",
    "transformers": "transformers",
    "safetensors": "safetensors",
}
TEXT = {
    **TRANSFORMERS,
    "accelerate": "accelerate",
    "xgrammar": "xgrammar",
    "gguf": "gguf",
}
# What each engine imports, and the name to install it by.
NEEDS = {
    "text_llamacpp": {"xllamacpp": "xllamacpp"},
    "text_transformers": TEXT,
    "speech_kokoro": {"kokoro_onnx": "kokoro-onnx"},
    "speech_piper": {"piper": "piper-tts"},
    "speech_chatterbox": {"chatterbox": "chatterbox-light"},
    "embedding_transformers": TRANSFORMERS,
    "transcription_pocketsphinx": {"pocketsphinx": "pocketsphinx"},
    "transcription_transformers": TRANSFORMERS,
    "image_diffusers": DIFFUSION,
    "video_diffusers": DIFFUSION,
}
# Those of which one model can be shared out to several devices.
SPANNING = ("text_transformers", "echo")


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Import the card's engine and load the model.

    Raises EngineUnavailable if the engine is not here, InferenceError if it cannot load the files.
    """
    reason = installed(card)
    if reason is not None:
        raise EngineUnavailable(reason)
    try:
        module = cast(EngineModule, importlib.import_module(f"inference.{card.engine}"))
    except (ImportError, OSError) as error:
        raise EngineUnavailable(f"The engine {card.engine} cannot start: {error}.") from error
    try:
        return module.load(card, weights, device)
    except InferenceError:
        raise
    except Exception as error:
        # Every library has its own errors for a file that it cannot read.
        raise InferenceError(f"{card.id} could not be loaded: {error}") from error


def installed(card: Card) -> str | None:
    """Why the card's engine cannot run here, or None if it can; imports no heavy library."""
    if importlib.util.find_spec(f"inference.{card.engine}") is None:
        return f"The engine {card.engine} is not part of this version."
    for module, package in NEEDS.get(card.engine, {}).items():
        if importlib.util.find_spec(module) is None:
            return f"The engine {card.engine} needs a package: pip install {package}."
    if card.devices > 1 and card.engine not in SPANNING:
        return f"The engine {card.engine} runs a model on one device, not on {card.devices}."
    return None
