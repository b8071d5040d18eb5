"""Pictures by diffusers: any text-to-image pipeline, alone or several requests together.

Options of a card besides those of `inference.drawing.diffusion`:

negative_prompt  whether the model knows negative prompts (its guidance must be above 1)
native_size      the one size in pixels that it draws, which is then enlarged
batch            how many pictures it draws together (its slots)
batch_pixels     how many pixels these may have together (a megapixel)
previews         false to send none
"""

from dataclasses import replace
from typing import Any

from PIL import Image, ImageOps

from inference.catalog import Card
from inference.drawing import diffusion, pictures, wishes
from inference.drawing.diffusion import Model
from inference.drawing.studio import Made, Manner, Studio, Subject
from inference.types import Device, Emit, Engine, File, ImageRequest, Result
from inference.weights import Weights


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the pipeline in the folder `model`."""
    return ImageDiffusers(card, diffusion.load(card, weights.path("model"), device))


class ImageDiffusers:
    """The loaded model, which draws for all requests."""

    def __init__(self, card: Card, model: Model) -> None:
        self.slots = card.slots
        self._card = card
        self._model = model
        most = card.options.get("batch", card.slots)
        self._studio = Studio(card, model, _tensors, most=most)

    def generate(self, request: ImageRequest, emit: Emit) -> Result:
        """Draw; emits Progress and Previews.

        Raises InvalidRequest for what the model can't do, and whatever `emit` raises.
        """
        pictures.check_format(request.format)
        warnings: list[str] = []
        manner, subject = self._understood(request, warnings)
        subjects = [replace(subject, seed=request.seed + number) for number in range(request.n)]
        made = self._studio.make(manner, subjects, emit)
        return self._result(request, manner, made, warnings)

    def close(self) -> None:
        """Stop drawing and free the model's memory."""
        self._studio.close()

    def _understood(self, request: ImageRequest, warnings: list[str]) -> tuple[Manner, Subject]:
        card, model = self._card, self._model
        mode = wishes.mode(card, model, image=request.image, mask=request.mask)
        prompt = wishes.prompt(card, model, request, warnings)
        width, height = wishes.size(card, request, warnings)
        guidance = wishes.guidance(card, request, warnings)
        negative_prompt = wishes.negative_prompt(card, request, guidance, warnings)
        strength = wishes.strength(card, model, mode, request, warnings)
        image = mask = None
        if request.image is not None:
            image = ImageOps.fit(pictures.read(request.image), (width, height))
        if request.mask is not None:
            mask = ImageOps.fit(pictures.read_mask(request.mask), (width, height))
        return (
            Manner(
                mode=mode,
                width=width,
                height=height,
                steps=request.steps,
                guidance=guidance,
                negative=negative_prompt is not None,
                strength=strength,
            ),
            Subject(prompt, negative_prompt, request.seed, image, mask),
        )

    def _result(
        self, request: ImageRequest, manner: Manner, made: list[Made], warnings: list[str]
    ) -> Result:
        form = pictures.FORMATS[request.format]
        files, facts = [], []
        for number, one in enumerate(made):
            if one.seed != request.seed + number:
                warnings.append(
                    f"Picture {number + 1} showed nothing; it was drawn again, from {one.seed}."
                )
            picture = Image.fromarray(one.pixels[0])
            if "native_size" in self._card.options:
                picture = pictures.enlarged(picture, request.width, request.height)
            parameters = self._parameters(request, manner, one.seed, picture)
            content = pictures.write(picture, request.format, parameters)
            files.append(File(f"output_{number + 1:05}_.{form.suffix}", form.media_type, content))
            facts.append({"seed": one.seed, "width": picture.width, "height": picture.height})
        return Result({"images": facts}, files, warnings)

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


def _tensors(output: Any) -> Any:
    # A picture is a film of one frame.
    return output.images[:, None]
