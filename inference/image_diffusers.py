"""Pictures by diffusers: any text-to-image pipeline, alone or several requests together.

Options of a card besides those of `inference.diffusion`:

negative_prompt  whether the model knows negative prompts (its guidance must be above 1)
native_size      the one size in pixels that it draws, which is then enlarged
batch            how many pictures it draws together (its slots)
batch_pixels     how many pixels these may have together (a megapixel)
previews         false to send none
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from PIL import Image, ImageOps

from inference import diffusion, pictures
from inference.batching import Abandoned, Order, Piece, Worker
from inference.catalog import Card
from inference.diffusion import Mode, Model
from inference.errors import InferenceError, InvalidRequest
from inference.types import Device, Emit, Engine, File, ImageRequest, Result
from inference.weights import Weights

# Sizes that every pipeline can draw are multiples of this.
MULTIPLE = 16
# Beyond this a GPU is busy with one picture, and a batch is no faster.
BATCH_PIXELS = 1024 * 1024
# What is drawn anew of a picture if the request doesn't say: masked parts wholly.
STRENGTHS = {Mode.IMAGE: 0.8, Mode.MASK: 1.0}
# A pixel of at most this value, of 255, is black.
BLACK = 1
# Changes a seed into another one when a picture must be drawn again.
OTHER_SEED = 0x5EED


@dataclass(frozen=True, slots=True)
class Manner:
    """What pictures must have in common to be drawn together; sizes in pixels."""

    mode: Mode
    width: int
    height: int
    steps: int
    guidance: float | None
    strength: float | None
    negative: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """What is one picture's own."""

    prompt: str
    negative_prompt: str | None
    seed: int
    image: Image.Image | None
    mask: Image.Image | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished picture and the seed that it was drawn from."""

    picture: Image.Image
    seed: int


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the pipeline in the folder `model`."""
    return ImageDiffusers(card, diffusion.load(card, weights.path("model"), device))


class ImageDiffusers:
    """The loaded model; its one worker draws for all requests."""

    def __init__(self, card: Card, model: Model) -> None:
        self.slots = card.slots
        self._card = card
        self._model = model
        self._worker = Worker(
            self._make,
            most=card.options.get("batch", card.slots),
            capacity=card.options.get("batch_pixels", BATCH_PIXELS),
            making="Drawing",
        )

    def generate(self, request: ImageRequest, emit: Emit) -> Result:
        """Draw; emits Progress and Previews.

        Raises InvalidRequest for what the model can't do, and whatever `emit` raises.
        """
        pictures.check_format(request.format)
        warnings: list[str] = []
        manner = self._manner(request, warnings)
        subject = _subject(request, manner)
        order = Order(emit)
        order.pieces = [
            Piece(
                order,
                manner,
                manner.width * manner.height,
                replace(subject, seed=request.seed + number),
            )
            for number in range(request.n)
        ]
        drawn: list[Drawn] = self._worker.do(order)
        return self._result(request, manner, drawn, warnings)

    def close(self) -> None:
        """Stop the worker and free the model's memory."""
        self._worker.close()
        self._model.close()

    # What is asked

    def _manner(self, request: ImageRequest, warnings: list[str]) -> Manner:
        """How to draw what is asked; `warnings` learns what is not done as it was asked."""
        mode = self._mode(request)
        width, height = self._size(request, warnings)
        guidance = self._guidance(request, warnings)
        return Manner(
            mode=mode,
            width=width,
            height=height,
            steps=request.steps,
            guidance=guidance,
            strength=self._strength(request, mode, warnings),
            negative=self._knows_negative(request, mode, guidance, warnings),
        )

    def _mode(self, request: ImageRequest) -> Mode:
        if request.image is None and request.mask is not None:
            raise InvalidRequest("A mask needs the image that it covers.", param="image")
        mode = Mode.TEXT
        if request.image is not None:
            mode = Mode.IMAGE if request.mask is None else Mode.MASK
        if self._model.has(mode):
            return mode
        if mode is Mode.TEXT:
            raise InvalidRequest(f"{self._card.id} needs an image to begin with.", param="image")
        if mode is Mode.MASK and self._model.has(Mode.IMAGE):
            raise InvalidRequest(f"{self._card.id} can't use a mask. Leave it out.", param="mask")
        raise InvalidRequest(
            f"{self._card.id} can't begin with an image. Leave it out.", param="image"
        )

    def _size(self, request: ImageRequest, warnings: list[str]) -> tuple[int, int]:
        native = self._card.options.get("native_size")
        if native is not None:
            return native, native
        width, height = _rounded(request.width), _rounded(request.height)
        if (width, height) != (request.width, request.height):
            warnings.append(
                f"The size is {width}x{height}: width and height are multiples of {MULTIPLE}."
            )
        return width, height

    def _guidance(self, request: ImageRequest, warnings: list[str]) -> float | None:
        known = self._card.parameters.get("guidance")
        if known is None:
            if request.guidance is not None:
                warnings.append(f"{self._card.id} has no guidance; it was ignored.")
            return None
        return known.default if request.guidance is None else request.guidance

    def _strength(self, request: ImageRequest, mode: Mode, warnings: list[str]) -> float | None:
        if mode is Mode.TEXT or not self._model.takes(mode, "strength"):
            if request.strength is not None:
                reason = "there is no image" if mode is Mode.TEXT else f"{self._card.id} has none"
                warnings.append(f"strength was ignored, as {reason}.")
            return None
        if request.strength is None:
            # Enough for one step at least.
            return max(STRENGTHS[mode], 1 / request.steps)
        if int(request.strength * request.steps) < 1:
            raise InvalidRequest(
                f"A strength of {request.strength:g} leaves nothing to draw in {request.steps} "
                "steps: their product must be 1 or more.",
                param="strength",
            )
        return request.strength

    def _knows_negative(
        self, request: ImageRequest, mode: Mode, guidance: float | None, warnings: list[str]
    ) -> bool:
        if not request.negative_prompt:
            return False
        known = self._card.options.get("negative_prompt", False)
        if not known or not self._model.takes(mode, "negative_prompt"):
            warnings.append(f"{self._card.id} knows no negative prompts; it was ignored.")
            return False
        if guidance is not None and guidance <= 1:
            warnings.append("negative_prompt was ignored: it needs a guidance above 1.")
            return False
        return True

    # Drawing, in the worker's thread

    def _make(self, batch: list[Piece]) -> list[Drawn | None]:
        """Draw a batch; a picture that came out broken is drawn once more, by itself."""
        return [
            drawn or self._again(piece)
            for piece, drawn in zip(batch, self._draw(batch), strict=True)
        ]

    def _again(self, piece: Piece) -> Drawn | None:
        """Another try from another seed, as the same one would mostly end the same."""
        if piece.order.over:
            return None
        seed = piece.subject.seed ^ OTHER_SEED
        second = Piece(piece.order, piece.key, piece.weight, replace(piece.subject, seed=seed))
        (drawn,) = self._draw([second])
        if drawn is None:
            raise InferenceError("The model drew nothing that is a picture, twice.")
        return drawn

    def _draw(self, batch: list[Piece]) -> list[Drawn | None]:
        """The pictures of a batch, None for a broken one."""
        manner = cast(Manner, batch[0].key)
        subjects: list[Subject] = [piece.subject for piece in batch]
        output = self._model.run(manner.mode, self._arguments(manner, subjects), self._watch(batch))
        _check_withheld(output)
        return [
            _finished(tensor, subject)
            for tensor, subject in zip(output.images, subjects, strict=True)
        ]

    def _arguments(self, manner: Manner, subjects: list[Subject]) -> dict[str, Any]:
        arguments = {
            # A new list each time: Z-Image writes into it.
            "prompt": [subject.prompt for subject in subjects],
            "width": manner.width,
            "height": manner.height,
            "num_inference_steps": manner.steps,
            # Each picture's own noise, from the CPU: the same alone, in a batch and on any device.
            "generator": [torch.Generator("cpu").manual_seed(s.seed) for s in subjects],
            "output_type": "pt",
        }
        if manner.negative:
            arguments["negative_prompt"] = [subject.negative_prompt for subject in subjects]
        if manner.guidance is not None:
            arguments[self._model.guidance_argument()] = manner.guidance
        if manner.mode is not Mode.TEXT:
            arguments["image"] = [subject.image for subject in subjects]
        if manner.mode is Mode.MASK:
            arguments["mask_image"] = [subject.mask for subject in subjects]
        if manner.strength is not None:
            arguments["strength"] = manner.strength
        return arguments

    def _watch(self, batch: list[Piece]) -> diffusion.OnStep:
        orders = list(dict.fromkeys(piece.order for piece in batch))

        def on_step(step: int, steps: int, latents: torch.Tensor) -> None:
            for piece in batch:
                # One more for the decoder, which is still to come.
                piece.fraction = (step + 1) / (steps + 1)
            for order in orders:
                order.tell_progress()
            if self._worker.stopped or all(order.over for order in orders):
                raise Abandoned

        return on_step

    # What is answered

    def _result(
        self, request: ImageRequest, manner: Manner, drawn: list[Drawn], warnings: list[str]
    ) -> Result:
        form = pictures.FORMATS[request.format]
        files, facts = [], []
        for number, one in enumerate(drawn):
            picture = self._enlarged(one.picture, request)
            if one.seed != request.seed + number:
                warnings.append(
                    f"Picture {number + 1} came out broken and was drawn again, "
                    f"from seed {one.seed}."
                )
            content = pictures.write(
                picture, request.format, self._parameters(request, manner, one.seed, picture)
            )
            files.append(File(f"output_{number + 1:05}_.{form.suffix}", form.media_type, content))
            width, height = picture.size
            facts.append({"seed": one.seed, "width": width, "height": height})
        return Result({"images": facts}, files, warnings)

    def _enlarged(self, picture: Image.Image, request: ImageRequest) -> Image.Image:
        if "native_size" not in self._card.options:
            return picture
        # Where the shape differs, the picture's own border is continued.
        border = cast(tuple[int, ...], picture.getpixel((0, 0)))
        size = (request.width, request.height)
        return ImageOps.pad(picture, size, Image.Resampling.LANCZOS, color=border)

    def _parameters(
        self, request: ImageRequest, manner: Manner, seed: int, picture: Image.Image
    ) -> dict[str, str]:
        """What a PNG says about itself."""
        parameters = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt if manner.negative else None,
            "model": self._card.id,
            "seed": seed,
            "steps": manner.steps,
            "guidance": manner.guidance,
            "strength": manner.strength,
            "size": f"{picture.width}x{picture.height}",
            "Software": "ModelPilot",
        }
        return {name: str(value) for name, value in parameters.items() if value is not None}


def _rounded(side: int) -> int:
    return max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)


def _subject(request: ImageRequest, manner: Manner) -> Subject:
    size = (manner.width, manner.height)
    image = mask = None
    if request.image is not None:
        image = ImageOps.fit(pictures.read(request.image), size)
    if request.mask is not None:
        mask = ImageOps.fit(pictures.read_mask(request.mask), size)
    return Subject(request.prompt, request.negative_prompt, request.seed, image, mask)


def _check_withheld(output: Any) -> None:
    """Raise InvalidRequest if the model's own safety checker blackened a picture."""
    if any(getattr(output, "nsfw_content_detected", None) or ()):
        raise InvalidRequest(
            "The model's safety checker withheld this picture. Change the prompt.", param="prompt"
        )


def _finished(tensor: torch.Tensor, subject: Subject) -> Drawn | None:
    """A picture of `tensor` (3, height, width; 0 to 1), or None if it is none.

    A model whose numbers overflow draws black, and no prompt makes a sound one draw every pixel
    black. Only a picture that it began with may.
    """
    if not bool(torch.isfinite(tensor).all()):
        return None
    pixels = (tensor.float().clamp(0, 1) * 255).round().to(torch.uint8)
    if int(pixels.max()) <= BLACK and subject.image is None:
        return None
    return Drawn(Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()), subject.seed)
