"""How a diffusion model fits into a GPU's memory: the fastest way that does is chosen.

Nothing here is imported from a model's libraries, so anybody may ask.
"""

from dataclasses import dataclass
from typing import Literal

from inference.catalog import Footprint
from inference.errors import InferenceError

Precision = Literal["float32", "half", "nf4"]
Residence = Literal["resident", "model offload", "group offload"]

# Bytes of a weight in NF4 over its bytes in bfloat16, block scales included.
NF4 = 0.28
# PyTorch's allocator needs more than the tensors have.
SLACK = 1.08
# What group offload keeps on the GPU of models of any size, and the part of the
# activations that is left when the autoencoder decodes in tiles.
GROUP_GB = 1.0
TILED = 0.7
# Most of the activations are the autoencoder's: a step has this part of them (SDXL 0.19,
# Wan 0.18, measured).
STEP = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """In which numbers the weights are held, and where; `needs_gb` is memory of the GPU."""

    precision: Precision
    residence: Residence
    needs_gb: float = 0.0

    @property
    def tiled(self) -> bool:
        """Whether the autoencoder works on one tile of a picture after the other."""
        return self.residence == "group offload"


ON_CPU = Plan("float32", "resident")


def plans(footprint: Footprint) -> list[Plan]:
    """All ways to run the model on a GPU, the fastest first."""
    core, encoder, activation = footprint.core_gb, footprint.encoder_gb, footprint.activation_gb
    decoding = footprint.vae_gb + activation
    tiled = GROUP_GB + footprint.vae_gb + TILED * activation

    def in_turn(part: float) -> float:
        return max(part * encoder, part * core + STEP * activation, decoding)

    return [
        Plan("half", "resident", SLACK * (core + encoder + decoding)),
        Plan("half", "model offload", SLACK * in_turn(1)),
        Plan("nf4", "resident", SLACK * (NF4 * (core + encoder) + decoding)),
        Plan("nf4", "model offload", SLACK * in_turn(NF4)),
        # Not in NF4: group offload moves tensors one by one, and leaves behind the scales
        # that bitsandbytes keeps beside them.
        Plan("half", "group offload", SLACK * tiled),
    ]


def choose(footprint: Footprint | None, free_gb: float, quantization: bool) -> Plan:
    """The fastest plan for `free_gb` of a GPU; without a footprint, everything is put there.

    `quantization` says whether bitsandbytes is installed. Raises InferenceError with
    what is needed if nothing fits.
    """
    if footprint is None:
        return Plan("half", "resident")
    fitting = [plan for plan in plans(footprint) if plan.needs_gb <= free_gb]
    possible = [plan for plan in fitting if quantization or plan.precision != "nf4"]
    if possible:
        return possible[0]
    least = min(plan.needs_gb for plan in plans(footprint))
    raise InferenceError(
        f"The model needs {least:.1f} GB of GPU memory at the least; {free_gb:.1f} GB are free."
    )


def passed_over(footprint: Footprint | None, free_gb: float) -> str | None:
    """What a plan of NF4 would give here if bitsandbytes were installed, as a sentence."""
    if footprint is None:
        return None
    best = choose(footprint, free_gb, quantization=True)
    if best.precision != "nf4":
        return None
    return (
        f"With bitsandbytes (pip install 'modelpilot[quantization]') it would run in NF4, "
        f"{best.residence}, which is faster in {free_gb:.1f} GB than offloading."
    )
