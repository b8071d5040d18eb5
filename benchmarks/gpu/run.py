"""One part of the measuring: what it found is written down at once."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    part: str
    out: Path
    weights: Path
    on_cpu: bool

    @property
    def device(self) -> str:
        return "cpu" if self.on_cpu else "cuda"

    def note(self, what: str, value: float | str) -> None:
        """Write a figure down where the parent finds it."""
        line = json.dumps([self.part, what, value if isinstance(value, str) else round(value, 2)])
        with open(self.out / "figures.jsonl", "a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """What goes wrong in here is noted, and the part goes on."""
        begun = time.perf_counter()
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.note(f"{what} FAILED", str(error)[:150])
        print(f"-- {what}: {time.perf_counter() - begun:.1f} s", flush=True)
