"""OpenAI's own clients, as they come, on every route that is OpenAI's: `make clients`.

    python -m tests.clients [--only python|javascript] [--model ID] [--route WORDS]

It starts a system of its own with SmolLM2 on both engines and a small model of each seed family,
installs the client for JavaScript into a temporary folder (that needs node, npm and the npm
registry), and prints a line for each client, model and route. Exit status 1 if any failed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from openai import OpenAI

from tests.clients import around, chat, forms
from tests.clients.models import MODELS, Model
from tests.embedded_servers import forget_the_developers_environment
from tests.system import ROOT, System, product

HERE = Path(__file__).parent
JAVASCRIPT = ("openai@7.57.0", "zod@4")
TIMEOUT_S = 300.0
Route = Callable[[OpenAI, Model], None]


def main() -> int:
    """0 if all went well, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    parser.add_argument("--only", choices=("python", "javascript"))
    parser.add_argument("--model", default="", help="only models with this in their names")
    parser.add_argument("--route", default="", help="only routes with this in their names")
    arguments = parser.parse_args()
    forget_the_developers_environment()
    with product(
        MODELPILOT_CATALOG=str(HERE / "catalog.toml"), MODELPILOT_IDLE_SECONDS="3600"
    ) as system:
        make_tiny_models(system.data / "models" / "tiny")
        key = system.start().account("clients@example.com", "100")
        lines = []
        if arguments.only != "javascript":
            lines += list(python(system, key, arguments))
        if arguments.only != "python":
            lines += list(javascript(system, key, arguments))
        print(system.manage("reconcile").strip())
    failed = sum(": FAILED" in line for line in lines)
    print(f"{len(lines) - failed} passed, {failed} failed")
    return 1 if failed or not lines else 0


def make_tiny_models(folder: Path) -> None:
    """In a process of its own: torch would stay in this one."""
    program = [sys.executable, "-m", "tests.inference.tiny_text", str(folder)]
    subprocess.run(program, check=True, capture_output=True, cwd=ROOT)


def chosen(arguments: argparse.Namespace) -> list[Model]:
    return [model for model in MODELS if arguments.model in model.id]


def python(system: System, key: str, arguments: argparse.Namespace) -> Iterator[str]:
    # OpenAI ends its own service for films, which is not what is called here.
    warnings.simplefilter("ignore", DeprecationWarning)
    with OpenAI(
        base_url=f"{system.base_url}/api/v1", api_key=key, timeout=TIMEOUT_S, max_retries=0
    ) as client:
        everywhere = {**chat.ROUTES, **forms.ROUTES, **around.BY_MODEL}
        for model in chosen(arguments):
            for name in filter(lambda name: arguments.route in name, everywhere):
                yield said("python", model.id, name, partial(everywhere[name], client, model))
        if not arguments.model:
            for name in filter(lambda name: arguments.route in name, around.ONCE):
                yield said("python", "", name, partial(around.ONCE[name], client, MODELS[0]))


def said(client: str, model: str, name: str, act: Callable[[], None]) -> str:
    """Do it, and print and return how it went."""
    begun = time.monotonic()
    try:
        act()
    except Exception as error:
        how = f"FAILED: {type(error).__name__}: {error}"
    else:
        how = f"ok {time.monotonic() - begun:.1f} s"
    line = f"{client:<10} {model:<20} {name:<30}: {how}"
    print(line, flush=True)
    return line


def javascript(system: System, key: str, arguments: argparse.Namespace) -> Iterator[str]:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise SystemExit("The client for JavaScript needs node and npm: install them.")
    with tempfile.TemporaryDirectory(prefix="mp-clients-") as name:
        folder = Path(name)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        for program in HERE.glob("*.mjs"):
            shutil.copy(program, folder)
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", *JAVASCRIPT],
            cwd=folder,
            check=True,
        )
        told = {
            "url": f"{system.base_url}/api/v1",
            "key": key,
            "models": [{**model.as_json(), "body": model.body()} for model in chosen(arguments)],
            "route": arguments.route,
            "all": not arguments.model,
        }
        process = subprocess.Popen(
            ["node", "drive.mjs"],
            cwd=folder,
            env={**os.environ, "CLIENTS": json.dumps(told)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            yield line
        if process.wait():
            yield "javascript: FAILED"


if __name__ == "__main__":
    sys.exit(main())
