"""Run one model from the command line: python -m inference MODEL "prompt".

A recording to write down is given by its path.
"""

import argparse
import base64
import secrets
import struct
import sys
import time
from pathlib import Path

from inference import catalog, engines, picking, weights
from inference.catalog import Card
from inference.cores import cores
from inference.errors import EngineUnavailable, InferenceError, WeightsNotFound
from inference.picking import Choice
from inference.types import (
    ChatRequest,
    Delta,
    Device,
    EmbeddingRequest,
    Event,
    ImageRequest,
    Kind,
    Request,
    Result,
    SpeechRequest,
    TranscriptionRequest,
    VideoRequest,
)

# A seed is drawn below this where none is given.
SEEDS = 2**32


def main() -> int:
    """Generate once; 0 if it worked, 1 if the model could not, 2 for a wrong command line."""
    arguments = _arguments()
    try:
        cards = catalog.load(arguments.catalog)
        card = cards.find(arguments.model)
        if card is None:
            _say(f"There is no model {arguments.model!r}. Models: {', '.join(cards.cards)}.")
            return 2
        _run(_way(card, arguments), arguments)
    except WeightsNotFound as error:
        _say(f"The weights of {arguments.model} are not here. Looked at:")
        for place in error.looked:
            _say(f"  {place}")
        return 1
    except InferenceError as error:
        _say(error.message)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m inference", description=__doc__)
    parser.add_argument("model", help="a card's id")
    parser.add_argument("prompt", help="what to answer, speak, draw or read")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds models/ and cache/")
    parser.add_argument("--catalog", type=Path, action="append", default=[], help="more cards")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--engine", default="", help="where a model has several")
    parser.add_argument(
        "--devices", type=int, help="how many share the model, where it has the choice"
    )
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--language", help="what is spoken in a recording, such as en")
    parser.add_argument("--voice")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--negative-prompt")
    parser.add_argument("--image", type=Path, help="the picture to begin with")
    parser.add_argument("--mask", type=Path, help="white where that may change")
    parser.add_argument("--strength", type=float, help="how much of it is drawn anew, 0 to 1")
    parser.add_argument("--n", type=int, default=1, help="how many pictures")
    parser.add_argument("--frames", type=int, dest="num_frames", help="how many of a film")
    parser.add_argument("--fps", type=int)
    parser.add_argument(
        "--format", help="wav, mp3, opus, flac, aac or pcm; for pictures png, jpeg or webp"
    )
    parser.add_argument("--out", type=Path, help="the file for what is not text")
    return parser.parse_args()


def _way(card: Card, arguments: argparse.Namespace) -> Card:
    """How to run it on the device that was asked for."""

    def obstacle(way: Card) -> str | None:
        if way.device != arguments.device:
            return f"It runs on {way.device}."
        return engines.installed(way)

    return picking.pick(card, obstacle, Choice(arguments.engine, arguments.devices)).card


def _run(card: Card, arguments: argparse.Namespace) -> None:
    reason = engines.installed(card)
    if reason is not None:
        raise EngineUnavailable(reason)
    request = _request(card, arguments)
    started = time.monotonic()
    found = weights.fetch(card, arguments.data / "models", arguments.data / "cache", _nothing)
    fetched = time.monotonic()
    device = Device(arguments.device, threads=arguments.threads, count=card.devices)
    engine = engines.load(card, found, device)
    loaded = time.monotonic()
    try:
        result = engine.generate(request, _print)
    finally:
        engine.close()
    ran = time.monotonic()
    _finish(card, result, arguments.out)
    _say(
        f"weights {fetched - started:.2f} s, load {loaded - fetched:.2f} s, "
        f"run {ran - loaded:.2f} s: {_measure(result, ran - loaded)}"
    )


def _request(card: Card, arguments: argparse.Namespace) -> Request:
    if card.kind is Kind.TEXT:
        return ChatRequest(
            messages=[{"role": "user", "content": arguments.prompt}],
            max_tokens=arguments.max_tokens,
            temperature=arguments.temperature,
            seed=arguments.seed,
        )
    if card.kind is Kind.AUDIO:
        form = arguments.format or "wav"
        return SpeechRequest(arguments.prompt, arguments.voice, arguments.speed, form)
    if card.kind is Kind.EMBEDDING:
        return EmbeddingRequest([arguments.prompt])
    if card.kind is Kind.TRANSCRIPTION:
        recording = Path(arguments.prompt).read_bytes()
        return TranscriptionRequest(recording, arguments.language)
    seed = secrets.randbelow(SEEDS) if arguments.seed is None else arguments.seed
    image = arguments.image and arguments.image.read_bytes()
    if card.kind is Kind.VIDEO:
        return VideoRequest(
            prompt=arguments.prompt,
            width=_whole(card, arguments, "width"),
            height=_whole(card, arguments, "height"),
            num_frames=_whole(card, arguments, "num_frames"),
            fps=_whole(card, arguments, "fps"),
            steps=_whole(card, arguments, "steps"),
            seed=seed,
            guidance=arguments.guidance,
            negative_prompt=arguments.negative_prompt,
            image=image,
        )
    return ImageRequest(
        prompt=arguments.prompt,
        width=_whole(card, arguments, "width"),
        height=_whole(card, arguments, "height"),
        steps=_whole(card, arguments, "steps"),
        seed=seed,
        guidance=arguments.guidance,
        negative_prompt=arguments.negative_prompt,
        n=arguments.n,
        image=image,
        mask=arguments.mask and arguments.mask.read_bytes(),
        strength=arguments.strength,
        format=arguments.format or "png",
    )


def _whole(card: Card, arguments: argparse.Namespace, name: str) -> int:
    """The argument, or the card's default for it."""
    given: int | None = getattr(arguments, name)
    return int(card.parameters[name].default) if given is None else given


def _print(event: Event) -> None:
    if isinstance(event, Delta):
        sys.stdout.write(event.text)
        sys.stdout.flush()


def _finish(card: Card, result: Result, out: Path | None) -> None:
    if card.kind in (Kind.TEXT, Kind.TRANSCRIPTION):
        sys.stdout.write("\n")
    for embedding in result.data.get("embeddings", ()):
        numbers = struct.iter_unpack("<f", base64.b64decode(embedding))
        sys.stdout.write(" ".join(f"{number:.6f}" for (number,) in numbers) + "\n")
    for number, file in enumerate(result.files):
        path = out or Path(f"{card.short_name}{Path(file.name).suffix}")
        if number:
            path = path.with_name(f"{path.stem}-{number + 1}{Path(file.name).suffix}")
        path.write_bytes(file.content)
        _say(f"{path}: {len(file.content):,} bytes of {file.media_type}")
    for warning in result.warnings:
        _say(warning)


def _measure(result: Result, seconds: float) -> str:
    if "embeddings" in result.data:
        return f"{result.data['usage']['prompt_tokens']} tokens"
    if "segments" in result.data:
        duration = result.data["duration_s"]
        return f"{duration:.2f} s of sound, real-time factor {seconds / duration:.2f}"
    if "usage" in result.data:
        tokens = result.data["usage"]["completion_tokens"]
        return f"{tokens} tokens, {tokens / seconds:.0f} a second"
    if "images" in result.data:
        pictures = result.data["images"]
        seeds = ", ".join(str(picture["seed"]) for picture in pictures)
        return f"{seconds / len(pictures):.2f} s a picture, seed {seeds}"
    duration = result.data["duration_s"]
    if "num_frames" in result.data:
        return f"{duration:.2f} s of film, seed {result.data['seed']}"
    return f"{duration:.2f} s of sound, real-time factor {seconds / duration:.2f}"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _nothing(fraction: float) -> None:
    """Fetching is silent here."""


if __name__ == "__main__":
    sys.exit(main())
