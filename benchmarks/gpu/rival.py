"""The same weights by transformers' own continuous batching, and by plain generate."""

import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from benchmarks.gpu.run import Run
from benchmarks.gpu.text import written


def measure(run: Run, name: str) -> None:
    """The same weights by transformers' continuous batching, and by plain generate."""
    folder = written(run, name)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="sdpa"
    ).to(run.device)
    count = 8 if run.on_cpu else 160
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(0, 255, (64, 120), generator=draw).tolist()
    options: dict[str, Any] = {"do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    with run.attempt("plain generate"):
        for clients in (1, 32):
            batch = torch.tensor(prompts[:clients], device=run.device)
            model.generate(batch, max_new_tokens=4, **options)
            begun = time.perf_counter()
            model.generate(batch, max_new_tokens=count, **options)
            rate = clients * count / (time.perf_counter() - begun)
            run.note(f"plain generate, {clients} rows: tok/s", rate)
    with run.attempt("continuous batching"):
        config = GenerationConfig(max_new_tokens=count, **options)
        batching = ContinuousBatchingConfig(
            num_blocks=64 if run.on_cpu else 400, page_size=32 if run.on_cpu else 256,
            max_batch_tokens=256 if run.on_cpu else 2048, auto_switch_to_flash=False,
        )  # fmt: skip
        for clients in (1, 8, 32, 64):
            begun = time.perf_counter()
            answers = model.generate_batch(
                prompts[:clients], generation_config=config, continuous_batching_config=batching,
                persistent_manager=True,
            )  # fmt: skip
            first = time.perf_counter() - begun
            begun = time.perf_counter()
            answers = model.generate_batch(
                prompts[:clients], generation_config=config, continuous_batching_config=batching,
                persistent_manager=True,
            )  # fmt: skip
            seconds = time.perf_counter() - begun
            tokens = sum(len(answer.generated_tokens) for answer in answers.values())
            run.note(
                f"transformers' batching, {clients} at once: tok/s (first time)",
                f"{tokens / seconds:.0f} ({tokens / first:.0f})",
            )
