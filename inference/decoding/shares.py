"""A process's share of a model: all of it, or one of several equal parts.

The parts are those of transformers' own plan for tensor parallelism: of every layer each process
has some of the heads and some of the columns, with its part of the cache. What they have worked
out is added up twice in a layer, so all run the same steps at once.
"""

import gc
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.distributed.configuration_utils import DistributedConfig

from inference.catalog import Card
from inference.decoding import attention, memory
from inference.decoding.packing import pack
from inference.decoding.runner import Runner
from inference.errors import InferenceError
from inference.types import Device

# Tokens of prompts that are read in one step, beside the answers that are being written.
BUDGET = {"cpu": 256, "cuda": 2048}
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
# How long one waits for another before it gives up; large weights may be read for so long.
PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Share:
    """Part number `rank` of `of`; the processes that have the others are met at `meeting`, a file
    that all have open under this number. `device` is this part's only one, `dtype` is a type of
    torch's by name."""

    card: Card
    path: Path
    dtype: str
    device: Device
    rank: int = 0
    of: int = 1
    meeting: int = 0

    def to_json(self) -> str:
        """For another process."""
        plain = {name: getattr(self, name) for name in ("dtype", "rank", "of", "meeting")}
        card, device = self.card.model_dump(mode="json"), asdict(self.device)
        return json.dumps({**plain, "path": str(self.path), "card": card, "device": device})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Share":
        """The share that another process has sent."""
        fields: dict[str, Any] = json.loads(text)
        return cls(
            **{
                **fields,
                "card": Card.model_validate(fields["card"]),
                "device": Device(**fields["device"]),
                "path": Path(fields["path"]),
            }
        )


def processes(card: Card, device: Device) -> int:
    """How many share the model: one for each GPU. On a CPU as many as the card's options say."""
    return device.count if device.kind == "cuda" else int(card.options.get("processes", 1))


def parts(whole: Share, of: int, meeting: int) -> list[Share]:
    """The whole's equal parts. On a CPU they divide its memory and its cores.

    Raises InferenceError for a model that can't be divided by that number, or not here.
    """
    if dist.is_initialized():
        raise InferenceError("This process already has a share of another model.")
    if whole.device.kind == "cpu" and torch.cuda.is_available():
        raise InferenceError(
            "Processes share a model on the CPU only where they see no GPU: set "
            "CUDA_VISIBLE_DEVICES to nothing."
        )
    config = AutoConfig.from_pretrained(whole.path, local_files_only=True).get_text_config()
    if config.num_key_value_heads % of:
        raise InferenceError(
            f"{whole.card.id} has {config.num_key_value_heads} key heads in each layer, and {of} "
            "processes can't share these out evenly. Choose a number of devices that divides them."
        )
    card, device = whole.card, replace(whole.device, count=1)
    if device.kind == "cpu":
        card = card.model_copy(update={"memory_mb": card.memory_mb // of})
        device = replace(device, threads=max(1, device.threads // of))
    return [
        replace(
            whole, card=card, device=replace(device, index=device.index + rank), rank=rank, of=of,
            meeting=meeting,
        )
        for rank in range(of)
    ]  # fmt: skip


def load(share: Share) -> tuple[Runner, int]:
    """The runner of a share, and how many pages its cache has: as many as that of any other.

    Raises InferenceError if the cache could not hold one request of the whole context.
    """
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(share.device.threads)
    if share.of > 1:
        meet(share)
    model = AutoModelForCausalLM.from_pretrained(
        share.path,
        dtype=getattr(torch, share.dtype),
        attn_implementation=attention.NAME,
        local_files_only=True,
        use_safetensors=True,
        **placement(share),
    ).eval()
    if share.of > 1:
        keep_plain(model)
    elif share.device.kind == "cpu":
        pack(model)
    gc.collect()
    runner, budget = Runner(model), BUDGET[share.device.kind]
    most = context(share.card, model)
    return runner, memory.allocate(runner, share.card, share.device, most, budget, least_of(share))


def context(card: Card, model: Any) -> int:
    """The most tokens of a prompt and its answer together."""
    most: int = model.config.get_text_config().max_position_embeddings
    return min(card.context or 0, most)


def placement(share: Share) -> Mapping[str, Any]:
    if share.of > 1:
        # Which GPU that is, transformers reads from LOCAL_RANK.
        return {"distributed_config": DistributedConfig(tp_size=share.of, tp_plan="auto")}
    if share.device.kind == "cuda":
        return {"device_map": {"": share.device.name}}
    return {}


def meet(share: Share) -> None:
    """Find the processes that have the other parts. Nobody else can be among them: who has the
    file in which they meet has been given it."""
    gpu = torch.device(share.device.name) if share.device.kind == "cuda" else None
    dist.init_process_group(
        BACKENDS[share.device.kind],
        store=dist.FileStore(f"/dev/fd/{share.meeting}", share.of),
        rank=share.rank,
        world_size=share.of,
        timeout=PATIENCE,
        device_id=gpu,
    )


def least_of(share: Share) -> Callable[[int], int] | None:
    """Of a number that each process has, the smallest; None: there is only this process."""
    if share.of == 1:
        return None

    def least(number: int) -> int:
        numbers = torch.tensor([number], device=share.device.name)
        dist.all_reduce(numbers, dist.ReduceOp.MIN)
        return int(numbers)

    return least


def part() -> None:
    """Leave the others, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def keep_plain(model: torch.nn.Module) -> None:
    """Keep the parts of linear layers as plain tensors, so that no step has to look for them."""
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            for name, weight in list(module.named_parameters(recurse=False)):
                if isinstance(weight, DTensor):
                    plain = torch.nn.Parameter(weight.to_local(), requires_grad=False)
                    module.register_parameter(name, plain)
