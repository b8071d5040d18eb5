"""Models of the seed cards in their true sizes, with random weights: they say and draw noise, but
take the time and the memory of the real ones. Sizes are those of the configurations on the hub."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers
from accelerate.utils import set_module_tensor_to_device

from tests.inference import tiny_text

TEXTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen3-8b": ("qwen3", "Qwen3", {
        "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288,
        "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": False,
    }),
    "gemma3:4b": ("gemma3", "Gemma3", {
        "hidden_size": 2560, "num_hidden_layers": 34, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 10240,
        "vocab_size": 262208, "max_position_embeddings": 131072, "sliding_window": 1024,
        "query_pre_attn_scalar": 256,
    }),
    "deepseek-r1": ("deepseek-qwen", "Qwen2", {
        "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
        "max_position_embeddings": 131072, "tie_word_embeddings": False,
    }),
}  # fmt: skip


def text(name: str, folder: Path, device: str) -> None:
    """The model of a text card, in bfloat16, laid out in `folder` as the hub does."""
    family, kind, sizes = TEXTS[name]
    config = "Gemma3TextConfig" if kind == "Gemma3" else f"{kind}Config"
    model = made(
        lambda: getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, config)(**sizes)),
        device,
    )
    reader = tiny_text.tokenizer(family, sizes["vocab_size"])
    tiny_text.save(family, model, reader, folder)


def made(make: Callable[[], Any], device: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A network on `device`, in bfloat16, with weights that keep its numbers small."""
    with accelerate.init_empty_weights():
        network = make()
    tie = getattr(network, "tie_weights", lambda: None)
    tie()
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in list(network.named_parameters()):
        value = torch.empty(parameter.shape, dtype=dtype, device=device)
        if value.ndim > 1:
            value.normal_(0, 0.02, generator=generator)
        else:
            value.fill_(0.0 if name.endswith("bias") else 1.0)
        set_module_tensor_to_device(network, name, device, value=value, dtype=dtype)
    tie()
    return network.to(device).eval()
