"""Pipelines of true size in each place: memory beside what the planner reckons with, and time."""

import statistics
import time
from itertools import pairwise
from typing import Any

import torch

from benchmarks.gpu import true_pictures
from benchmarks.gpu.run import Run
from inference import catalog
from inference.drawing import diffusion, placement
from inference.drawing.diffusion import Mode, Step
from inference.types import Device
from tests.inference import tiny_pipelines

# Width, height and steps; for films the number of frames.
SIZES = {
    "sdxl": (1024, 1024, 4, 1), "zimage": (1024, 1024, 3, 1), "flux-schnell": (1024, 1024, 4, 1),
    "wan-t2v": (832, 480, 2, 81),
}  # fmt: skip


def measure(run: Run, name: str) -> None:
    """The peak of memory in each place, beside the planner's, and seconds a step."""
    card = catalog.load([]).cards[name]
    begun = time.perf_counter()
    pipe = tiny_pipelines.MAKERS[name]() if run.on_cpu else true_pictures.PICTURES[name]("cuda")
    run.note("making it, s", time.perf_counter() - begun)
    assert card.footprint is not None
    where = Device(threads=2) if run.on_cpu else Device("cuda", 0, 8)
    if not run.on_cpu:
        for part, module in pipe.components.items():
            if isinstance(module, torch.nn.Module):
                size = sum(p.numel() * p.element_size() for p in module.parameters())
                run.note(f"{part}, GB", size / 1e9)
    for residence in ("resident", "model offload", "group offload"):
        plans = {(p.precision, p.residence): p for p in placement.plans(card.footprint)}
        plan = plans["half", residence]
        with run.attempt(residence):
            if residence != "resident":
                pipe.remove_all_hooks()
                pipe.to("cpu")
                if not run.on_cpu:
                    torch.cuda.empty_cache()
            diffusion.place(pipe, plan, where.kind)
            model = diffusion.Model(card, pipe, plan, where)
            if not run.on_cpu:
                torch.cuda.reset_peak_memory_stats()
            times = generated(run, name, model)
            steps = [b - a for a, b in pairwise(times[:-1])]
            run.note(f"{residence}: step, s", statistics.median(steps) if steps else times[1])
            run.note(f"{residence}: whole, s", times[-1] - times[0])
            if not run.on_cpu:
                peak = torch.cuda.max_memory_allocated() / 1e9
                held = torch.cuda.max_memory_reserved() / 1e9
                run.note(
                    f"{residence}: GB of tensors, reserved (plan)",
                    f"{peak:.1f}, {held:.1f} ({plan.needs_gb:.1f})",
                )


def generated(run: Run, name: str, model: Any) -> list[float]:
    """Draw one; when it began, each step was done, and it was there."""
    width, height, steps, frames = (32, 32, 2, 5) if run.on_cpu else SIZES[name]
    times = [time.perf_counter()]

    def step_done(step: Step) -> None:
        if not run.on_cpu:
            torch.cuda.synchronize()
            run_peak.append(torch.cuda.max_memory_allocated() / 1e9)
        times.append(time.perf_counter())

    run_peak: list[float] = []
    arguments = {
        "prompt": ["a lighthouse in a storm, " * 12], "width": width, "height": height,
        "num_inference_steps": steps, "num_frames": frames, "output_type": "pt",
        "generator": [torch.Generator("cpu").manual_seed(1)],
    }  # fmt: skip
    model.run(Mode.TEXT, arguments, step_done)
    if run_peak:
        run.note(f"{model.plan.residence}: GB until the last step", run_peak[-1])
        torch.cuda.synchronize()
    times.append(time.perf_counter())
    return times
