"""What a picture or film looks like while it is still being made."""

import logging
import math
import time
from typing import Any

import torch
from PIL import Image

from inference.drawing import pictures
from inference.drawing.diffusion import Step

log = logging.getLogger(__name__)

# At which parts of the work there is something new to see.
MOMENTS = (0.2, 0.4, 0.6, 0.8)
# Who has waited less than this, in seconds, needs nothing to look at.
APART_S = 1.0


class Watcher:
    """Looks at the steps of one batch. Sizes are those of the finished pictures, in pixels.

    A step's latents are half noise, but from two in a row follows where they are going: both
    are a mix of the finished latents and the same noise, and the scheduler knows in what shares.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._height = height
        self._before: torch.Tensor | None = None
        self._shown_at = time.monotonic()

    def look(self, step: Step) -> list[bytes]:
        """A small JPEG of each picture if this is a moment for it, else none; never raises."""
        before, self._before = self._before, step.latents
        moments = {round(step.count * moment) for moment in MOMENTS} - {step.count}
        now = time.monotonic()
        early = now - self._shown_at < APART_S
        if before is None or step.number + 1 not in moments or early:
            return []
        self._shown_at = now
        try:
            with torch.no_grad():
                return self._pictures(step, before)
        except Exception as error:
            # Nobody's job shall fail for this. A family that isn't known yet has none.
            log.info("No preview: %s", error)
            return []

    def _pictures(self, step: Step, before: torch.Tensor) -> list[bytes]:
        if step.pipe.vae.dtype == torch.float16:
            # Some decoders overflow in it, and the pipeline itself changes to float32 for them.
            return []
        scheduler = step.pipe.scheduler
        latents = finished(scheduler, step.timestep, before.float(), step.latents.float())
        decoded = self._decoded(step.pipe, latents)
        pixels = ((decoded.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return [
            pictures.preview(Image.fromarray(one.permute(1, 2, 0).cpu().numpy())) for one in pixels
        ]

    def _decoded(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        """Small pictures (count, 3, height, width; -1 to 1) of latents of any size."""
        vae = pipe.vae
        if latents.ndim == 5:
            return self._first_frame(vae, latents)
        if latents.ndim == 3:
            scale = pipe.vae_scale_factor
            latents = pipe._unpack_latents(latents, self._height, self._width, scale)
        factor = math.ceil(max(self._width, self._height) / pictures.PREVIEW_SIDE)
        latents = torch.nn.functional.avg_pool2d(latents, factor)
        latents = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        return vae.decode(latents.to(vae.dtype), return_dict=False)[0]

    def _first_frame(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        """Of a film (count, channels, frames, height, width) only the beginning is looked at."""
        latents = latents[:, :, :1]
        shape = (1, -1, 1, 1, 1)
        mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents)
        deviation = torch.tensor(vae.config.latents_std).view(shape).to(latents)
        latents = latents * deviation + mean
        return vae.decode(latents.to(vae.dtype), return_dict=False)[0][:, :, 0]


def finished(
    scheduler: Any, timestep: Any, before: torch.Tensor, after: torch.Tensor
) -> torch.Tensor:
    """Where the step that made `after` of `before` at `timestep` is heading: without noise."""
    index = int((scheduler.timesteps == timestep).nonzero()[0])
    signal, noise = _shares(scheduler, index)
    next_signal, next_noise = _shares(scheduler, index + 1)
    mixed = noise * after - next_noise * before
    return mixed / (next_signal * noise - signal * next_noise)


def _shares(scheduler: Any, index: int) -> tuple[float, float]:
    """How much of the latents is picture, and how much is noise, before step `index`."""
    if not hasattr(scheduler, "sigmas"):
        kept = float(scheduler.alphas_cumprod[int(scheduler.timesteps[index])])
        return math.sqrt(kept), math.sqrt(1 - kept)
    sigma = scheduler.sigmas[index]
    if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
        signal, noise = scheduler._sigma_to_alpha_sigma_t(sigma)
        return float(signal), float(noise)
    flows = "FlowMatch" in type(scheduler).__name__
    return (1 - float(sigma), float(sigma)) if flows else (1.0, float(sigma))
