"""What the GPU can do at most, and what one layer's attention does of that."""

import statistics
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch

from benchmarks.gpu.run import Run
from inference.decoding.attention import Cache, Layout
from inference.decoding.paged import Paged
from inference.decoding.ragged import Ragged
from inference.decoding.step import PAGE, Part, pages_for


def measure(run: Run, name: str) -> None:
    if run.on_cpu:
        run.note("device", "CPU")
        return
    properties = torch.cuda.get_device_properties(0)
    run.note("device", f"{properties.name}, PyTorch {torch.__version__}")
    source = torch.randn(1 << 30, device="cuda", dtype=torch.float32)
    target = torch.empty_like(source)
    seconds = timed(partial(target.copy_, source))
    run.note("copy, TB/s read and written", 2 * source.nbytes / seconds / 1e12)
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    run.note("bfloat16 product, TFLOP/s", 2 * 8192**3 / timed(lambda: square @ square) / 1e12)
    with run.attempt("attention kernels"):
        attention(run)


def attention(run: Run) -> None:
    """One layer of Qwen3 8B: over pages, and by flash attention over copies of them."""
    held = torch.randn(5000 * PAGE, 16, 128, device="cuda", dtype=torch.bfloat16)
    for rows, end in ((1, 1000), (1, 8000), (32, 500), (32, 2000), (64, 1000), (256, 300)):
        query = torch.randn(rows, 32, 128, device="cuda", dtype=torch.bfloat16).transpose(0, 1)
        each = pages_for(end)
        pages = [[(row * each + n) % 5000 for n in range(each)] for row in range(rows)]
        slots = torch.zeros(rows, dtype=torch.long, device="cuda")
        places = torch.full((rows,), end - 1, dtype=torch.int32, device="cuda")
        owners = torch.arange(rows, dtype=torch.int32, device="cuda")
        table = torch.tensor(pages, dtype=torch.int32, device="cuda")
        paged = Paged(Cache(), slots, places, owners, table)
        ragged = Ragged.of(Cache(), slots, [Part([1], end - 1, own, kept=True) for own in pages])
        layouts: dict[str, Layout] = {"paged": paged, "ragged": ragged}
        for name, layout in layouts.items():
            seconds = timed(partial(layout.attend, query, held, 128**-0.5, None))
            moved = rows * end * 16 * 128 * 2 / seconds / 1e12
            run.note(
                f"{name}, {rows} rows of {end}, us (TB/s)", f"{seconds * 1e6:.0f} ({moved:.2f})"
            )


def timed(work: Callable[[], object], times: int = 20) -> float:
    """Seconds that the GPU takes, the median."""
    for _ in range(3):
        work()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    torch.cuda.synchronize()
    gaps: list[float] = [a.elapsed_time(b) for a, b in pairwise(marks)]
    return statistics.median(gaps) / 1000
