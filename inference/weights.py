"""Finding a model's weights on this machine, and fetching what is missing.

A source is `file:path`, `package:module/path` (several joined by ` + ` are the
parts of one file) or `hub:owner/repo@commit[/path]`. Weights are data only:
formats that can carry code are refused.
"""

import hashlib
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from inference import hub
from inference.catalog import Card, Source
from inference.errors import WeightsNotFound, WeightsRefused

# ".jinja" are chat templates, which transformers runs in Jinja's sandbox.
FORMATS = {
    ".safetensors", ".gguf", ".onnx", ".json", ".txt", ".model", ".npz", ".bin", ".wav", ".jinja",
}  # fmt: skip
# Of these, what may be large numbers and nothing else.
DATA = {".safetensors", ".gguf", ".onnx", ".model", ".bin"}
CODE = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py"}
# How a zip archive and a pickle begin: what PyTorch writes into a ".bin".
PICKLED = re.compile(rb"PK\x03\x04|\x80[\x02-\x05][\x8a\x95}(\]c]")
HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<path>.+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
LARGEST_CONFIG = 4 << 20
READ_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of one card by the names that the card gives them.

    `cache` is where an engine keeps what it makes of them, for the next load.
    """

    paths: dict[str, Path]
    cache: Path | None = None

    def path(self, name: str) -> Path:
        """The file or folder `name`; raises WeightsNotFound for an optional one that is absent."""
        try:
            return self.paths[name]
        except KeyError:
            raise WeightsNotFound(f"There is no file {name!r}.", looked=[]) from None


def reachable(card: Card, models: Path, cache: Path) -> bool:
    """Whether `fetch` can be expected to succeed: all that is missing here, the hub has."""
    return all(
        _first(source, lambda source, text: _find(source, text, models, cache))[0] is not None
        or any(_on_hub(source, text, cache) for text in source.sources)
        for source in card.files.values()
        if not source.optional
    )


def named_on_hub(card: Card, models: Path, cache: Path) -> bool:
    """Whether all that is missing here has a pinned place on the hub; nobody is asked."""
    return all(
        _first(source, lambda source, text: _find(source, text, models, cache))[0] is not None
        or any(_is_pinned(text) for text in source.sources)
        for source in card.files.values()
        if not source.optional
    )


def _is_pinned(text: str) -> bool:
    scheme, _, rest = text.partition(":")
    match = HUB.fullmatch(rest) if scheme == "hub" else None
    return match is not None and COMMIT.fullmatch(match["revision"] or "") is not None


def _on_hub(source: Source, text: str, cache: Path) -> bool:
    """Whether `text` is a `hub:` source, pinned, and the hub answers that it has the files."""
    scheme, _, rest = text.partition(":")
    try:
        if scheme == "hub":
            _place(source, rest, cache).sizes(FORMATS)
            return True
    except (Missing, hub.Unreachable):
        pass
    return False


class Missing(Exception):
    """Why a source has nothing to offer."""


def find(card: Card, models: Path, cache: Path) -> Weights:
    """The card's weights, if they are on this machine: downloads, joins and hashes nothing.

    A file in parts is given where `fetch` will join it. Raises WeightsNotFound
    with every place looked at, WeightsRefused for a format that can carry code.
    """
    return _collect(card, cache, lambda source, text: _find(source, text, models, cache))


def fetch(card: Card, models: Path, cache: Path, progress: Callable[[float], None]) -> Weights:
    """The card's weights, downloaded, joined and checked; `progress` hears 0.0 to 1.0.

    Raises WeightsNotFound or WeightsRefused, and whatever `progress` raises.
    """

    def get(source: Source, text: str) -> Path:
        path = _find(source, text, models, cache, progress)
        parts = _parts(text)
        if len(parts) > 1 and not path.exists():
            _join(parts, path, source)
        _check(path, source, cache)
        return path

    weights = _collect(card, cache, get)
    progress(1.0)
    return weights


def _collect(card: Card, cache: Path, get: Callable[[Source, str], Path]) -> Weights:
    paths: dict[str, Path] = {}
    looked: list[str] = []
    for name, source in card.files.items():
        path, reasons = _first(source, get)
        if path is not None:
            paths[name] = path
        elif not source.optional:
            looked += [f"{name}: {reason}" for reason in reasons]
    if looked:
        message = f"The weights of {card.id} are not here. Looked at: {'; '.join(looked)}."
        raise WeightsNotFound(message, looked=looked)
    return Weights(paths, cache)


def _first(source: Source, get: Callable[[Source, str], Path]) -> tuple[Path | None, list[str]]:
    reasons: list[str] = []
    for text in source.sources:
        try:
            return get(source, text), reasons
        except Missing as missing:
            reasons.append(f"{text} ({missing})")
    return None, reasons


def _find(
    source: Source,
    text: str,
    models: Path,
    cache: Path,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Where `text` is on this machine; with `progress`, what the hub has is downloaded."""
    scheme, _, rest = text.partition(":")
    if scheme == "hub":
        path = _hub(source, rest, cache, progress)
    elif scheme == "package":
        parts = _parts(text)
        path = parts[0] if len(parts) == 1 else cache / f"{source.sha256}.bin"
    elif scheme == "file":
        path = models / rest
        if not path.exists():
            raise Missing(f"no {path}")
    else:
        raise WeightsRefused(f"{text}: a source starts with file:, package: or hub:.")
    _refuse_code(path, source)
    return path


def _parts(text: str) -> list[Path]:
    """The existing files behind a `package:` source; none for other sources."""
    scheme, _, rest = text.partition(":")
    return [_in_package(part) for part in rest.split(" + ")] if scheme == "package" else []


def _in_package(part: str) -> Path:
    module, _, path = part.partition("/")
    # find_spec of a top-level name finds the folder without running the package's code.
    spec = importlib.util.find_spec(module.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise Missing(f"pip install {module.replace('_', '-')}")
    found = Path(next(iter(spec.submodule_search_locations))) / path
    if not found.exists():
        raise Missing(f"no {found}")
    return found


def _hub(source: Source, text: str, cache: Path, progress: Callable[[float], None] | None) -> Path:
    place = _place(source, text, cache)
    if progress is not None and not place.target.exists():
        try:
            place.download(FORMATS, progress)
        except hub.Unreachable as error:
            raise Missing(str(error)) from error
    if not place.target.exists():
        raise Missing("not downloaded")
    return place.target


def _place(source: Source, text: str, cache: Path) -> hub.Place:
    match = HUB.fullmatch(text)
    if match is None:
        raise WeightsRefused(f"hub:{text} is not hub:owner/repo@commit[/path].")
    revision = match["revision"] or ""
    if not COMMIT.fullmatch(revision):
        raise Missing(f"not pinned: write hub:{match['repo']}@ and a commit of 40 hex digits")
    return hub.Place(
        match["repo"], revision, match["path"] or "", cache / "hub", tuple(source.include)
    )


def _refuse_code(path: Path, source: Source) -> None:
    for file in _files(path):
        is_code = file.suffix in CODE or (file.suffix == ".bin" and "pytorch_model" in file.name)
        if is_code or (file == path and file.suffix not in FORMATS):
            allowed = ", ".join(sorted(FORMATS))
            raise WeightsRefused(f"{file} is not loaded: only {allowed} are, as they hold no code.")
        # A checksum in the card says which bytes these are; without one, look at the first.
        if file.suffix in DATA and source.sha256 is None and _is_pickled(file):
            raise WeightsRefused(f"{file} holds a pickle, which can run code; it is not loaded.")
        if file.suffix == ".json" and _names_code(file):
            raise WeightsRefused(
                f"{file} names code to run (auto_map), and nobody's code is run. Take the entry "
                "out, if the model's class is one that its library has."
            )


def _files(path: Path) -> Iterator[Path]:
    """What is behind a source; WeightsRefused for a link that leads out of its folder."""
    if not path.is_dir():
        yield path
        return
    home = path.resolve()
    for file in path.rglob("*"):
        # What is behind it was not looked at, and may be another's.
        if file.is_symlink() and not file.resolve().is_relative_to(home):
            raise WeightsRefused(
                f"{file} is a link that leads out of the model's folder. Put a copy in its place."
            )
        if file.is_file():
            yield file


def _names_code(file: Path) -> bool:
    """Whether transformers would look for classes in files beside this one."""
    if "config" not in file.name or file.stat().st_size > LARGEST_CONFIG:
        return False
    try:
        config = json.loads(file.read_bytes())
    except ValueError:
        return False
    return isinstance(config, dict) and bool(config.get("auto_map"))


def _is_pickled(file: Path) -> bool:
    with file.open("rb") as stream:
        return PICKLED.match(stream.read(8)) is not None


def _join(parts: list[Path], target: Path, source: Source) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as file:
        temporary = Path(file.name)
        try:
            for part in parts:
                for block in _blocks(part):
                    digest.update(block)
                    file.write(block)
            file.flush()
            os.fsync(file.fileno())
            _compare(" + ".join(str(part) for part in parts), digest.hexdigest(), source)
            # Renaming is atomic: no other process ever sees half a file.
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def _check(path: Path, source: Source, cache: Path) -> None:
    """Compare the file with the card's checksum, once for each size and time of change."""
    if source.sha256 is None:
        return
    status = path.stat()
    seen = [str(path), status.st_size, status.st_mtime_ns]
    note = cache / "checked" / f"{source.sha256}.json"
    if note.exists() and json.loads(note.read_text()) == seen:
        return
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    _compare(str(path), digest.hexdigest(), source)
    note.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False) as file:
        json.dump(seen, file)
    Path(file.name).replace(note)


def _compare(what: str, digest: str, source: Source) -> None:
    if digest != source.sha256:
        raise WeightsRefused(f"{what} has sha256 {digest}, but the card says {source.sha256}.")


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(READ_SIZE):
            yield block
