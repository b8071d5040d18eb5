"""Every route of the product, found by asking the product itself.

`describe` runs inside of it (by `manage.py shell`), where the addresses are those of its own
settings; `routes` is for the tests.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from ninja import NinjaAPI
from ninja.operation import PathView

from tests.system import System

# What is tried of a page, which says itself what it takes.
PAGE_METHODS = ("GET", "POST")
NAMED_GROUP = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")
CONVERTER = re.compile(r"<\w+:(\w+)>")
PARAMETER = re.compile(r"<(\w+)>")


@dataclass(frozen=True, slots=True)
class Route:
    """`pattern` is as in urls.py, with `<name>` for each parameter, however it is spelled."""

    pattern: str
    methods: tuple[str, ...]
    is_call: bool

    @property
    def parameters(self) -> list[str]:
        return PARAMETER.findall(self.pattern)

    def path(self, values: dict[str, str]) -> str:
        return "/" + PARAMETER.sub(lambda found: values[found[1]], self.pattern)


def describe() -> None:
    """Print every route as JSON."""
    from modelpilot.api.routes import is_call

    found: dict[str, list[str]] = {}
    for pattern, view in views(get_resolver().url_patterns):
        methods = found.setdefault(pattern, [])
        methods += [method for method in methods_of(view) if method not in methods]
    print(json.dumps([[name, found[name], is_call("/" + name)] for name in found]))


def views(patterns: list[Any], before: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    for pattern in patterns:
        name = before + plain(str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns, name)
        elif isinstance(pattern, URLPattern):
            yield name, pattern.callback


def plain(pattern: str) -> str:
    return CONVERTER.sub(r"<\1>", NAMED_GROUP.sub(r"<\1>", pattern).strip("^$"))


def methods_of(view: Callable[..., Any]) -> tuple[str, ...]:
    """What ninja has at this address; of other views nobody knows without asking them."""
    if isinstance(view, functools.partial) and isinstance(view.keywords.get("api"), NinjaAPI):
        return ("GET",)
    for cell in getattr(view, "__closure__", None) or ():
        if isinstance(cell.cell_contents, PathView):
            operations = cell.cell_contents.operations
            return tuple(method for operation in operations for method in operation.methods)
    return PAGE_METHODS


def routes(system: System) -> list[Route]:
    """Those that the running product has."""
    program = "from tests.security import surface; surface.describe()"
    *_, printed = system.manage("shell", "-v0", "-c", program).splitlines()
    return [Route(pattern, tuple(methods), call) for pattern, methods, call in json.loads(printed)]
