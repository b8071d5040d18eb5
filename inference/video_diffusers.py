"""Films by diffusers: any text-to-video or image-to-video pipeline, one film at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from inference.catalog import Card
from inference.drawing import diffusion, films, pictures, wishes
from inference.drawing.diffusion import Model
from inference.drawing.studio import Made, Manner, Studio, Subject
from inference.types import Device, Emit, Engine, File, Result, VideoRequest
from inference.weights import Weights


def load(card: Card, weights: Weights, device: Device) -> Engine:
    """Load the pipeline in the folder `model`; options are those of `inference.drawing.diffusion`.

    And `negative_prompt`, `native_size` and `previews`, which mean what they mean for pictures.
    """
    return VideoDiffusers(card, diffusion.load(card, weights.path("model"), device))


class VideoDiffusers:
    """The loaded model. A film fills a GPU, so there is no use in two at once."""

    slots = 1

    def __init__(self, card: Card, model: Model) -> None:
        self._card = card
        self._model = model
        self._studio = Studio(card, model, lambda output: output.frames, most=1)

    def generate(self, request: VideoRequest, emit: Emit) -> Result:
        """Make the film; emits Progress and Previews.

        Raises InvalidRequest for what the model can't do, and whatever `emit` raises.
        """
        warnings: list[str] = []
        manner, subject = self._understood(request, warnings)
        (made,) = self._studio.make(manner, [subject], emit)
        if "native_size" in self._card.options:
            made = replace(made, pixels=_enlarged(made.pixels, request.width, request.height))
        return _result(request, made, warnings)

    def close(self) -> None:
        """Stop and free the model's memory."""
        self._studio.close()

    def _understood(self, request: VideoRequest, warnings: list[str]) -> tuple[Manner, Subject]:
        card = self._card
        mode = wishes.mode(card, self._model, image=request.image, mask=None)
        prompt = wishes.prompt(card, self._model, request, warnings)
        width, height = wishes.size(card, request, warnings)
        guidance = wishes.guidance(card, request, warnings)
        negative_prompt = wishes.negative_prompt(card, request, guidance, warnings)
        image = None
        if request.image is not None:
            image = ImageOps.fit(pictures.read(request.image), (width, height))
        return (
            Manner(
                mode=mode,
                width=width,
                height=height,
                steps=request.steps,
                guidance=guidance,
                negative=negative_prompt is not None,
                num_frames=self._frames(request, warnings),
            ),
            Subject(prompt, negative_prompt, request.seed, image),
        )

    def _frames(self, request: VideoRequest, warnings: list[str]) -> int:
        """One frame, and then as many groups of them as the autoencoder makes at a time."""
        group: Any = getattr(self._model.pipe, "vae_scale_factor_temporal", 1)
        frames = 1 + max(1, round((request.num_frames - 1) / group)) * group
        if frames != request.num_frames:
            warnings.append(
                f"The film has {frames} frames, as num_frames must be 1 more than a multiple "
                f"of {group}."
            )
        return int(frames)


def _enlarged(pixels: Any, width: int, height: int) -> Any:
    """Frames (count, height, width, 3) at another size in pixels."""
    frames = (pictures.enlarged(Image.fromarray(frame), width, height) for frame in pixels)
    return np.stack([np.asarray(frame) for frame in frames])


def _result(request: VideoRequest, made: Made, warnings: list[str]) -> Result:
    count, height, width, _ = made.pixels.shape
    if made.seed != request.seed:
        warnings.append(f"The film showed nothing; it was made again, from {made.seed}.")
    poster = pictures.write(Image.fromarray(made.pixels[0]), "jpeg", {})
    return Result(
        {
            "seed": made.seed,
            "width": width,
            "height": height,
            "num_frames": count,
            "fps": request.fps,
            "duration_s": round(count / request.fps, 3),
        },
        [
            File("output_00001_.mp4", films.MEDIA_TYPE, films.write(made.pixels, request.fps)),
            File("output_00001_.jpg", "image/jpeg", poster),
        ],
        warnings,
    )
