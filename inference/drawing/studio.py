"""Where pictures and films are made: one model, one worker, and whoever waits for them."""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from inference.batching import Abandoned, Order, Piece, Worker
from inference.catalog import Card
from inference.drawing import diffusion, previews
from inference.drawing.diffusion import Mode, Model
from inference.errors import InferenceError, InvalidRequest
from inference.types import Emit, Preview

log = logging.getLogger(__name__)

# Beyond this a GPU is busy with one picture, and a batch is no faster.
BATCH_PIXELS = 1024 * 1024
# Changes a seed into another one when a thing must be made again.
OTHER_SEED = 0x5EED
# A pixel of at most this value, of 255, is black.
BLACK = 1


@dataclass(frozen=True, slots=True)
class Manner:
    """What things must have in common to be made together; sizes in pixels."""

    mode: Mode
    width: int
    height: int
    steps: int
    guidance: float | None
    negative: bool
    strength: float | None = None
    num_frames: int = 1


@dataclass(frozen=True, slots=True)
class Subject:
    """What is one thing's own. `image` and `mask` are Pillow's."""

    prompt: str
    negative_prompt: str | None
    seed: int
    image: Any = None
    mask: Any = None


@dataclass(frozen=True, slots=True)
class Made:
    """A finished thing: its pixels (frames, height, width, 3; 0 to 255), and its real seed."""

    pixels: Any
    seed: int


# The pictures or films of a pipeline's output: tensors (frames, 3, height, width) of 0 to 1.
Tensors = Callable[[Any], Any]


class Studio:
    """Makes what is ordered. Of an output's things, each is looked at before it is given away."""

    def __init__(self, card: Card, model: Model, tensors: Tensors, *, most: int) -> None:
        self.model = model
        self._card = card
        self._tensors = tensors
        self._previews = card.options.get("previews", True) and model.plan.residence == "resident"
        self._capacity: int = card.options.get("batch_pixels", BATCH_PIXELS)
        self._worker = Worker(
            self._make, most=most, capacity=self._capacity, making="The generation"
        )

    def make(self, manner: Manner, subjects: list[Subject], emit: Emit) -> list[Made]:
        """Make these, with Progress and Previews. Raises InferenceError and what `emit` raises."""
        order = Order(emit)
        pixels = manner.width * manner.height * manner.num_frames
        weight = pixels if self.model.batches(manner.mode) else self._capacity
        order.pieces = [
            Piece(order, cast(Hashable, manner), weight, subject) for subject in subjects
        ]
        return self._worker.do(order)

    def close(self) -> None:
        """Stop the worker and free the model's memory."""
        self._worker.close()
        self.model.close()

    # In the worker's thread

    def _make(self, batch: list[Piece]) -> list[Made | None]:
        """Make a batch; what came out broken is made once more, by itself."""
        try:
            made = self._once(batch)
        except torch.OutOfMemoryError:
            self._worker.most = max(1, len(batch) // 2)
            log.warning("%s: from now on at most %d at once.", self._card.id, self._worker.most)
            raise
        return [
            one if one is not None else self._again(piece)
            for piece, one in zip(batch, made, strict=True)
        ]

    def _again(self, piece: Piece) -> Made | None:
        """Another try from another seed, as the same one would mostly end the same."""
        if piece.order.over:
            return None
        log.warning("%s: seed %d gave nothing visible.", self._card.id, piece.subject.seed)
        subject = replace(piece.subject, seed=piece.subject.seed ^ OTHER_SEED)
        second = Piece(piece.order, piece.key, piece.weight, subject)
        try:
            (made,) = self._once([second])
        except Abandoned:
            # Only this piece is: the rest of its batch is there.
            piece.order.fail(InferenceError("The model was stopped."))
            return None
        if made is None:
            piece.order.fail(InferenceError("The model made nothing that can be seen, twice."))
        return made

    def _once(self, batch: list[Piece]) -> list[Made | None]:
        """The things of a batch, None for a broken one."""
        manner = cast(Manner, batch[0].key)
        subjects: list[Subject] = [piece.subject for piece in batch]
        arguments = _arguments(self.model, manner, subjects)
        output = self.model.run(manner.mode, arguments, self._watch(manner, batch))
        if any(getattr(output, "nsfw_content_detected", None) or ()):
            raise InvalidRequest(
                "The model's safety checker withheld this picture. Change the prompt.",
                param="prompt",
            )
        tensors = self._tensors(output)
        return [_seen(tensor, one) for tensor, one in zip(tensors, subjects, strict=True)]

    def _watch(self, manner: Manner, batch: list[Piece]) -> diffusion.OnStep:
        orders = list(dict.fromkeys(piece.order for piece in batch))
        watcher = previews.Watcher(manner.width, manner.height) if self._previews else None

        def on_step(step: diffusion.Step) -> None:
            for piece in batch:
                # One more for the decoder, which is still to come.
                piece.fraction = max(piece.fraction, (step.number + 1) / (step.count + 1))
            for order in orders:
                order.tell_progress()
            if self._worker.stopped or all(order.over for order in orders):
                raise Abandoned
            pictures = watcher.look(step) if watcher is not None else []
            for piece, picture in zip(batch, pictures, strict=False):
                piece.order.tell(Preview(picture))

        return on_step


def _arguments(model: Model, manner: Manner, subjects: list[Subject]) -> dict[str, Any]:
    """What the pipeline is called with; it takes what it knows of it."""
    arguments = {
        # A new list each time: Z-Image writes into it.
        "prompt": [subject.prompt for subject in subjects],
        "width": manner.width,
        "height": manner.height,
        "num_frames": manner.num_frames,
        "num_inference_steps": manner.steps,
        # Each one's own noise, from the CPU: the same alone, in a batch and on any device.
        "generator": [torch.Generator("cpu").manual_seed(one.seed) for one in subjects],
        "output_type": "pt",
    }
    if manner.negative:
        arguments["negative_prompt"] = [subject.negative_prompt for subject in subjects]
    if manner.guidance is not None:
        arguments[model.guidance_argument()] = manner.guidance
    if manner.mode is not Mode.TEXT:
        images = [subject.image for subject in subjects]
        arguments["image"] = images if model.batches(manner.mode) else images[0]
    if manner.mode is Mode.MASK:
        arguments["mask_image"] = [subject.mask for subject in subjects]
    if manner.strength is not None:
        arguments["strength"] = manner.strength
    return arguments


def _seen(tensor: Any, subject: Subject) -> Made | None:
    """The pixels of `tensor` (frames, 3, height, width; 0 to 1), or None if there is nothing.

    A model whose numbers overflow gives NaN or black; no prompt makes a sound one give every
    pixel of every frame as black. Only what began with a picture may be: that may be black.
    """
    if not bool(torch.isfinite(tensor).all()):
        return None
    pixels = (tensor.float().clamp(0, 1) * 255).round().to(torch.uint8)
    if int(pixels.max()) <= BLACK and subject.image is None:
        return None
    return Made(pixels.permute(0, 2, 3, 1).cpu().numpy(), subject.seed)
