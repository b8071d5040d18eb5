"""Diffusers pipelines: loading one, what its call can be asked, and calling it.

What differs between models is read from the signature of the pipeline's call; what that does
not tell is in the card's options:

guidance      the argument that a request's guidance goes into ("guidance_scale")
arguments     what every call is given besides
float32       components that keep full precision on a GPU
float16       whether half precision may be float16, for GPUs older than Ampere
quantize      components that may be held in NF4; without it none are
modes         what it may begin with, of "text", "image" and "mask"; without it, all that diffusers
              has a pipeline for
"""

import copy
import gc
import importlib.util
import inspect
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from inference.catalog import Card
from inference.drawing import placement
from inference.drawing.placement import Plan
from inference.types import Device

log = logging.getLogger(__name__)

# The first generation of GPUs that computes in bfloat16.
AMPERE = (8, 0)
GB = 1e9


class Mode(StrEnum):
    """What a generation begins with besides words: nothing, a picture, a picture and a mask."""

    TEXT = "text"
    IMAGE = "image"
    MASK = "mask"


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is done: `number` of `count`, from 0, at `timestep` of the pipe's scheduler."""

    number: int
    count: int
    timestep: Any
    latents: torch.Tensor
    pipe: Any


OnStep = Callable[[Step], None]


def load(card: Card, folder: Path, device: Device) -> "Model":
    """Load the pipeline in `folder` as well as the device allows; only safetensors, no code.

    Raises InferenceError if a GPU has too little memory for it.
    """
    _silence()
    torch.set_num_threads(device.threads)
    with _current(device):
        return _load(card, folder, device)


def _load(card: Card, folder: Path, device: Device) -> "Model":
    plan = _plan(card, device)
    where = "cpu" if device.kind == "cpu" else f"{device.kind}:{device.index}"
    pipe = diffusers.DiffusionPipeline.from_pretrained(
        str(folder),
        dtype=_precisions(card, plan, device),
        variant=_variant(folder),
        local_files_only=True,
        use_safetensors=True,
        **_quantization(card, plan, device),
    )
    place(pipe, plan, where)
    return Model(card, pipe, plan, device)


def place(pipe: Any, plan: Plan, where: str) -> None:
    """Put the pipeline's weights where the plan says; `where` is the device that computes."""
    if plan.residence == "model offload":
        pipe.enable_model_cpu_offload(device=where)
    elif plan.residence == "group offload":
        pipe.enable_group_offload(
            onload_device=torch.device(where),
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=where.startswith("cuda"),
        )
    else:
        pipe.to(where)
    vae = getattr(pipe, "vae", None)
    if vae is not None and plan.precision != "float32":
        # The pictures of a batch are decoded one after the other, which takes less memory.
        vae.enable_slicing()
    if vae is not None and plan.tiled:
        vae.enable_tiling()


def _current(device: Device) -> AbstractContextManager[object]:
    """Make the device the one that libraries mean if none is named; it is so for each thread."""
    return nullcontext() if device.kind == "cpu" else torch.cuda.device(device.index)


class Model:
    """A loaded model: a pipeline for each mode it has, which share its weights.

    It is for one thread at a time, as a pipeline keeps the state of its call in itself.
    """

    def __init__(self, card: Card, pipe: Any, plan: Plan, device: Device) -> None:
        self.pipe = pipe
        self.plan = plan
        self._device = device
        self._card = card
        self._pipes = _modes(card, pipe)
        self._names = {
            mode: set(inspect.signature(type(own).__call__).parameters)
            for mode, own in self._pipes.items()
        }
        self._batching = {
            mode for mode, own in self._pipes.items() if mode is Mode.TEXT or own is not pipe
        }

        self._reader, self._reads = _reader(card, pipe)
        self._reading = threading.Lock()

    def has(self, mode: Mode) -> bool:
        return mode in self._names

    def takes(self, mode: Mode, name: str) -> bool:
        """Whether the call of this mode has an argument `name`."""
        return name in self._names[mode]

    def length(self, prompt: str) -> tuple[int, int]:
        """How many tokens the prompt has, and how many the model reads."""
        if self._reader is None:
            return 0, 0
        with self._reading:
            return len(self._reader(prompt)["input_ids"]), self._reads

    def batches(self, mode: Mode) -> bool:
        """Whether the call makes several things, each of its own prompt and picture.

        A model that takes pictures in its one pipeline reads several as parts of one request.
        """
        return mode in self._batching

    def run(self, mode: Mode, arguments: dict[str, Any], on_step: OnStep) -> Any:
        """The pipeline's answer to these arguments, less those that its call doesn't have.

        What `on_step` raises ends the work at once and passes through.
        """
        pipe, placed = self._pipes[mode], self.pipe
        asked = {**self._card.options.get("arguments", {}), **arguments}

        def on_step_end(
            pipe: Any, step: int, timestep: Any, tensors: dict[str, torch.Tensor]
        ) -> dict[str, torch.Tensor]:
            count = max(pipe.num_timesteps, step + 1)
            on_step(Step(step, count, timestep, tensors["latents"], pipe))
            return {}

        pipe.set_progress_bar_config(disable=True)
        try:
            with _current(self._device):
                return pipe(
                    **{name: value for name, value in asked.items() if self.takes(mode, name)},
                    callback_on_step_end=on_step_end,
                )
        except BaseException as error:
            # The error would keep the tensors of every frame that it passed through.
            traceback.clear_frames(error.__traceback__)
            _forget_memory()
            raise
        finally:
            # It was this pipeline that placed the weights, so it is asked to take them back:
            # its own call ends with this, but not that of another mode or one that was broken off.
            placed.maybe_free_model_hooks()

    def guidance_argument(self) -> str:
        return str(self._card.options.get("guidance", "guidance_scale"))

    def close(self) -> None:
        """Free the weights."""
        self.pipe = None
        self._pipes.clear()
        gc.collect()
        _forget_memory()


def _modes(card: Card, pipe: Any) -> dict[Mode, Any]:
    """The pipelines of a model. One that takes pictures itself needs no other for them."""
    image = inspect.signature(type(pipe).__call__).parameters.get("image")
    wanted = [Mode(name) for name in card.options.get("modes", Mode)]
    modes = {}
    for mode in wanted:
        if mode is Mode.TEXT:
            found = pipe if image is None or image.default is not image.empty else None
        elif mode is Mode.IMAGE and image is not None:
            found = pipe
        else:
            found = _derived(mode, pipe)
        if found is not None:
            modes[mode] = found
    return modes


def _derived(mode: Mode, pipe: Any) -> Any:
    """The pipeline of the same family for another mode, with the same weights; None without one."""
    kinds = {
        Mode.IMAGE: diffusers.AutoPipelineForImage2Image,
        Mode.MASK: diffusers.AutoPipelineForInpainting,
    }
    try:
        return kinds[mode].from_pipe(pipe)
    except ValueError:
        return None


def _reader(card: Card, pipe: Any) -> tuple[Any, int]:
    """A copy of the tokenizer that reads most of a prompt, and how many tokens it reads.

    A copy, as the pipeline's own must not be used by two threads.
    """
    parameter = inspect.signature(type(pipe).__call__).parameters.get("max_sequence_length")
    default = parameter.default if parameter is not None else sys.maxsize
    most = card.options.get("arguments", {}).get("max_sequence_length", default)
    readers = [
        (min(component.model_max_length, most), component)
        for name, component in pipe.components.items()
        if name.startswith("tokenizer") and component is not None
    ]
    if not readers:
        return None, 0
    reads, reader = max(readers, key=lambda one: one[0])
    return copy.deepcopy(reader), reads


def _plan(card: Card, device: Device) -> Plan:
    if device.kind == "cpu":
        return placement.ON_CPU
    free_gb = torch.cuda.mem_get_info(device.index)[0] / GB
    if device.memory_mb is not None:
        free_gb = min(free_gb, device.memory_mb / 1000)
    quantizable = "quantize" in card.options
    installed = importlib.util.find_spec("bitsandbytes") is not None
    plan = placement.choose(card.footprint, free_gb, quantizable and installed)
    if quantizable and not installed:
        advice = placement.passed_over(card.footprint, free_gb)
        if advice is not None:
            log.warning("%s: %s", card.id, advice)
    log.info("%s: %s, %s; %.1f GB free.", card.id, plan.precision, plan.residence, free_gb)
    return plan


def _half(card: Card, device: Device) -> torch.dtype:
    too_old = torch.cuda.get_device_capability(device.index) < AMPERE
    return torch.float16 if too_old and card.options.get("float16") else torch.bfloat16


def _precisions(card: Card, plan: Plan, device: Device) -> dict[str, torch.dtype]:
    """The type of each component's numbers."""
    if plan.precision == "float32":
        return {"default": torch.float32}
    exceptions = dict.fromkeys(card.options.get("float32", []), torch.float32)
    return {"default": _half(card, device), **exceptions}


def _quantization(card: Card, plan: Plan, device: Device) -> dict[str, Any]:
    if plan.precision != "nf4":
        return {}
    config = diffusers.PipelineQuantizationConfig(
        quant_backend="bitsandbytes_4bit",
        quant_kwargs={
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": _half(card, device),
        },
        components_to_quantize=card.options["quantize"],
    )
    return {"quantization_config": config}


def _variant(folder: Path) -> str | None:
    """ "fp16" if the folder has no other weights, else None."""
    names = [file.name for file in folder.glob("*/*.safetensors")]
    return "fp16" if names and all(".fp16." in name for name in names) else None


def _silence() -> None:
    """Progress goes where `on_step` brings it; what libraries print is noise in a pod's log.

    diffusers imports its parts when they are first named, and those print too.
    """
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _forget_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
