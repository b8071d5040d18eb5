"""What a look at the installation found: one line, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["fail", "warn", "ok"]
# As an operator wants to read them.
SEVERITY: tuple[Level, ...] = ("fail", "warn", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    text: str
    todo: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def warn(text: str, todo: str) -> Finding:
    return Finding("warn", text, todo)


def fail(text: str, todo: str) -> Finding:
    return Finding("fail", text, todo)
