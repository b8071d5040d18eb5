# ruff: noqa: INP001, T201
"""One of each kind through the public API, with the openai client: `make demo`.

Calls the server at --url. Where none answers and the address is this machine's, it starts one
(`manage.py up`) and stops it again at the end.
"""

import argparse
import base64
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "demo-output"
QUESTION = "What is the capital of France?"
PICTURE = "a red apple on a yellow background"
FILM = "a fox drifting to the left"
SENTENCE = "Hello. This voice was made on your own machine, and it cost a tenth of a cent."
LOOK_S = 1.0
STOP_S = 100.0
LOCAL = ("127.0.0.1", "localhost", "::1")


class DemoError(Exception):
    """An expected problem, said as it is."""


def environment(name: str, default: str) -> str:
    return os.environ.get(name) or default  # noqa: TID251


def data_folder() -> Path:
    return Path(environment("MODELPILOT_DATA", str(ROOT / "data")))


# What is shown


def chat(client: openai.OpenAI, model: str) -> float:
    """Print an answer as it comes; returns what it cost."""
    print(f"\n{model}: {QUESTION}")
    cost = 0.0
    started = time.monotonic()
    with Phases(client, model) as phases:
        chunks = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=60,
            temperature=0,
            stream=True,
        )
        for chunk in chunks:
            phases.stop()
            for choice in chunk.choices:
                print(choice.delta.content or "", end="", flush=True)
            cost = extra(chunk, "x_modelpilot").get("cost", cost)
    print(f"\n  {time.monotonic() - started:.1f} s, ${cost:g}")
    return cost


def speak(client: openai.OpenAI, model: str) -> float:
    """Save a spoken sentence; returns what it cost."""
    print(f"\n{model}: {SENTENCE}")
    started = time.monotonic()
    with Phases(client, model):
        answer = client.audio.speech.with_raw_response.create(
            model=model, voice="alloy", input=SENTENCE, response_format="wav"
        )
    cost = float(answer.headers["x-modelpilot-cost"])
    path = saved(f"{model}.wav", answer.content)
    print(f"  {time.monotonic() - started:.1f} s, ${cost:g}, saved as {shown(path)}")
    return cost


def draw(client: openai.OpenAI, model: str) -> float:
    """Save a picture; returns what it cost."""
    print(f"\n{model}: {PICTURE}")
    started = time.monotonic()
    with Phases(client, model):
        answer = client.images.generate(
            model=model, prompt=PICTURE, size="512x512", response_format="b64_json"
        )
    assert answer.data is not None
    path = saved(f"{model}.png", base64.b64decode(answer.data[0].b64_json or ""))
    cost = float(extra(answer, "x_modelpilot")["cost"])
    print(f"  {time.monotonic() - started:.1f} s, ${cost:g}, saved as {shown(path)}")
    return cost


def film(client: openai.OpenAI, model: str) -> float:
    """Save a film; returns what it cost."""
    print(f"\n{model}: {FILM}")
    started = time.monotonic()
    video = client.videos.create(model=model, prompt=FILM)
    progress = -1
    while video.status in ("queued", "in_progress"):
        if video.progress != progress:
            progress = video.progress
            print(f"  {video.status} {progress} % ...", flush=True)
        time.sleep(LOOK_S)
        video = client.videos.retrieve(video.id)
    if video.error is not None:
        raise DemoError(video.error.message)
    path = saved(f"{model}.mp4", client.videos.download_content(video.id).read())
    cost = float(extra(video, "x_modelpilot")["cost"])
    print(f"  {time.monotonic() - started:.1f} s, ${cost:g}, saved as {shown(path)}")
    return cost


def saved(name: str, content: bytes) -> Path:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / name
    path.write_bytes(content)
    return path


class Phases:
    """Says what a model that was not in memory is doing, until its first word."""

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self.client = client
        self.model = model
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> "Phases":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Return when nothing more will be said."""
        self.stopped.set()
        self.thread.join()

    def watch(self) -> None:
        said = "ready"
        while not self.stopped.wait(LOOK_S if said != "ready" else 0.2):
            try:
                phase = str(extra(self.client.models.retrieve(self.model), "status"))
            except openai.OpenAIError:
                return
            if phase not in (said, "ready") and not self.stopped.is_set():
                print(f"  {phase} ...", flush=True)
            said = phase


def extra(answer: Any, name: str) -> Any:
    """A field of ours that the openai client has no type for."""
    return (answer.model_extra or {}).get(name, {})


def shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def demonstrate(client: openai.OpenAI) -> None:
    models = [model.id for model in client.models.list()]
    wanted = {
        "smollm2-135m": chat,
        "emoji-64": draw,
        "emoji-64-video": film,
        "piper-joe": speak,
        "kokoro": speak,
    }
    for model in wanted.keys() - models:
        print(f"{model} is not deployed here and is left out.")
    spent = sum(show(client, model) for model, show in wanted.items() if model in models)
    balance = client.get("/balance", cast_to=dict[str, Any])
    print(f"\nTogether ${spent:g}; ${balance['balance']:.4f} of credit are left.")


# Where it runs


@contextmanager
def server(url: str) -> Iterator[None]:
    """The server that answers at `url`, or one of our own for as long as we need it."""
    if answers(url):
        yield
        return
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOCAL:
        raise DemoError(f"No server answers at {url}.")
    FOLDER.mkdir(exist_ok=True)
    log = FOLDER / "server.log"
    print(f"No server answers at {url}; starting one (it writes to {shown(log)}) ...")
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "up"],
            env={**os.environ, "MODELPILOT_PORT": str(parts.port or 80)},  # noqa: TID251
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            # Ctrl-C comes to us alone, and we stop it properly.
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready"):
            raise DemoError(f"It did not start:\n{log.read_text().strip()}")
        yield
    finally:
        print("Stopping the server.")
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def answers(url: str) -> bool:
    try:
        # Any answer will do: without a key it is a 401.
        client_for(url, "none", retries=0).models.list()
    except openai.APIStatusError:
        return True
    except openai.APIConnectionError:
        return False
    return True


def client_for(url: str, key: str, retries: int = 2) -> openai.OpenAI:
    # Longer than the 600 s that a server waits for a model.
    return openai.OpenAI(base_url=f"{url}/api/v1", api_key=key, max_retries=retries, timeout=620)


def find_key(given: str | None) -> str:
    key = given or environment("MODELPILOT_KEY", "")
    path = data_folder() / "operator-key"
    if not key and path.exists():
        key = path.read_text().strip()
    if not key:
        raise DemoError(
            "Which key? Give the one that the first start showed as --key or in MODELPILOT_KEY, "
            "or make another: .venv/bin/python manage.py account you@example.com --credit 1"
        )
    return key


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    port = environment("MODELPILOT_PORT", "8000")
    parser.add_argument("--url", default=f"http://127.0.0.1:{port}", help="default: %(default)s")
    parser.add_argument("--key", help="default: MODELPILOT_KEY, or the operator's in the data")
    return parser.parse_args()


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    arguments = parse()
    url = arguments.url.rstrip("/")
    signal.signal(signal.SIGTERM, interrupted)
    # OpenAI ends its own service for films, which is not what is called here.
    warnings.filterwarnings("ignore", message="The Sora API", category=DeprecationWarning)
    try:
        with server(url):
            demonstrate(client_for(url, find_key(arguments.key)))
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except openai.APIStatusError as error:
        print(f"\nThe server refused (status {error.status_code}): {said(error)}", file=sys.stderr)
        return 1
    except openai.OpenAIError as error:
        print(f"\n{url} stopped answering: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def said(error: openai.APIStatusError) -> str:
    return str(error.body.get("message")) if isinstance(error.body, dict) else error.message


if __name__ == "__main__":
    sys.exit(main())
