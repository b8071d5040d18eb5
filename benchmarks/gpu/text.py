"""A chat model of true size through our engine: load, memory, and how fast it answers crowds."""

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import true_size
from benchmarks.gpu.run import Run
from inference import catalog, engines
from inference.types import ChatRequest, Delta, Device, Event
from inference.weights import Weights
from tests.inference import tiny_text

PROMPT = "Write a long story about a lighthouse keeper, number {}; " + "with many details, " * 3


def measure(run: Run, name: str) -> None:
    folder = written(run, name)
    card = text_card(run, name)
    begun = time.perf_counter()
    where = Device(threads=2) if run.on_cpu else Device("cuda", 0, 8, card.memory_mb)
    free = 0 if run.on_cpu else torch.cuda.mem_get_info()[0]
    engine: Any = engines.load(card, Weights({"model": folder}), where)
    run.note("load, s", time.perf_counter() - begun)
    run.note("cache, tokens", engine.loop.room)
    fixed = engine.loop.runner.fixed
    run.note("graphs", len(fixed._graphs) if fixed else 0)
    if not run.on_cpu:
        taken = (free - torch.cuda.mem_get_info()[0]) / 1e6
        run.note("memory after load, MB (of the card's)", f"{taken:.0f} ({card.memory_mb})")
    with run.attempt("first words"):
        crowd(engine, 2, 8)
    crowds = [1, 8, 32, 64] if name == "qwen3-8b" else [1, 32]
    for clients in crowds:
        with run.attempt(f"graphs, {clients} clients"):
            told(
                run, f"graphs, {clients} clients", crowd(engine, clients, 16 if run.on_cpu else 160)
            )
    engine.loop.runner.fixed = None
    for clients in (1, 32):
        with run.attempt(f"eager, {clients} clients"):
            told(run, f"eager, {clients} clients", crowd(engine, clients, 8 if run.on_cpu else 48))
    engine.loop.runner.fixed = fixed
    with run.attempt("prefix"):
        prefix(run, engine)
    with run.attempt("sampled"):
        told(run, "graphs, 32 clients, sampled", crowd(engine, 32, 64, temperature=0.8, top_p=0.9))
    with run.attempt("JSON"):
        told(run, "graphs, 32 clients, JSON", crowd(engine, 32, 48, response_format=FORM))
    with run.attempt("long"):
        long = 600 if run.on_cpu else 6000
        told(run, f"graphs, 8 clients of {long} tokens", crowd(engine, 8, 48, "x" * long))
    if not run.on_cpu:
        taken = (free - torch.cuda.mem_get_info()[0]) / 1e6
        run.note("memory at the end, MB", taken)
        run.note("peak of tensors, MB", torch.cuda.max_memory_allocated() / 1e6)
        with run.attempt("profile"):
            profile(run, engine)
    engine.close()
    del engine
    if not run.on_cpu:
        run.note("tensors after close, MB", torch.cuda.memory_allocated() / 1e6)


FORM = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }},
}  # fmt: skip


def written(run: Run, name: str) -> Path:
    """The folder of the model, made if it is not there."""
    folder = run.weights / name.replace(":", "-") / "safetensors"
    if not folder.exists():
        begun = time.perf_counter()
        if run.on_cpu:
            tiny_text.make(true_size.TEXTS[name][0], folder)
        else:
            true_size.text(name, folder, run.device)
        run.note("making the weights, s", time.perf_counter() - begun)
    return folder


def text_card(run: Run, name: str) -> Any:
    card = catalog.load([]).cards[name].way("text_transformers", "cuda")
    if run.on_cpu:
        tiny = {"device": "cpu", "context": 1024, "memory_mb": 4000}
        return card.model_copy(update=tiny)
    if name == "qwen3-8b":
        return card.model_copy(update={"slots": 64, "memory_mb": 40_000})
    return card


@dataclass
class Crowd:
    tokens: int
    seconds: float
    first_s: list[float]
    # Between an answer's first and last token, for each of those after the first.
    between_s: list[float]


def crowd(engine: Any, clients: int, tokens: int, prefix: str = "", **fields: Any) -> Crowd:
    """So many requests at once, each for so many tokens."""
    lock = threading.Lock()
    found = Crowd(0, 0.0, [], [])

    def client(number: int) -> None:
        times: list[float] = []

        def hear(event: Event) -> None:
            if isinstance(event, Delta):
                times.append(time.perf_counter())

        asked = {"max_tokens": tokens, "temperature": 0.0, **fields}
        prompt = f"{time.perf_counter()} " + PROMPT.format(number) + prefix
        words: dict[str, Any] = {"prompt": prompt}
        if "response_format" in asked:
            words = {"messages": [{"role": "user", "content": prompt}], "reasoning_effort": "none"}
        begun = time.perf_counter()
        data = engine.generate(ChatRequest(**words, **asked), hear).data
        with lock:
            count = data["usage"]["completion_tokens"]
            found.tokens += count
            if times:
                found.first_s.append(times[0] - begun)
                found.between_s.append((times[-1] - times[0]) / max(1, count - 1))

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    found.seconds = time.perf_counter() - begun
    return found


def told(run: Run, what: str, found: Crowd) -> None:
    first = sorted(found.first_s) or [0.0]
    p50, p95 = first[len(first) // 2], first[int(0.95 * (len(first) - 1))]
    between = statistics.median(found.between_s) if found.between_s else 0.0
    run.note(
        f"{what}: tok/s; first p50, p95; step, ms",
        f"{found.tokens / found.seconds:.0f}; {1000 * p50:.0f}, {1000 * p95:.0f}; "
        f"{1000 * between:.2f}",
    )


def prefix(run: Run, engine: Any) -> None:
    """The first token behind a long prompt, unknown and known."""
    words = f"{time.perf_counter()} " + "A long document. " * (40 if run.on_cpu else 400)
    seconds = []
    for question in ("one", "two", "three"):
        begun = time.perf_counter()
        engine.generate(ChatRequest(prompt=words + question, max_tokens=1), lambda event: None)
        seconds.append(time.perf_counter() - begun)
    cold, warm = seconds[0], seconds[2]
    run.note("prefix: first token cold, known, ms", f"{1000 * cold:.0f}, {1000 * warm:.0f}")


def profile(run: Run, engine: Any) -> None:
    """Which kernels a step of 32 answers spends its time in."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        crowd(engine, 32, 12)
        torch.cuda.synchronize()
    events = seen.key_averages()
    (run.out / f"profile-{run.part.replace(':', '-')}.txt").write_text(
        events.table(sort_by="self_cuda_time_total", row_limit=30, max_name_column_width=80)
    )
    top = sorted(events, key=lambda event: -event.self_device_time_total)[:4]
    whole = sum(event.self_device_time_total for event in events)
    for event in top:
        run.note(f"kernel {event.key[:38]}, %", 100 * event.self_device_time_total / whole)
