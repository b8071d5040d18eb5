"""Static files go out compressed, and anew when they change."""

import gzip
from pathlib import Path

from fontTools.ttLib import TTFont

from modelpilot.dashboard.static_files import compressed, typeface


def test_a_file_that_shrinks_lies_as_gzip_too(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    (folder / "deep").mkdir(parents=True)
    style = folder / "deep" / "site.css"
    style.write_text("a { color: red; }\n" * 500)
    (folder / "tiny.js").write_text("1")
    copy = compressed(folder, tmp_path / "cache")
    small = copy / "deep" / "site.css.gz"
    assert gzip.decompress(small.read_bytes()) == style.read_bytes()
    assert small.stat().st_size < 200
    assert (copy / "tiny.js").read_text() == "1"
    assert not (copy / "tiny.js.gz").exists()


def test_it_is_made_once_for_each_content(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "site.js").write_text("first")
    first = compressed(folder, tmp_path / "cache")
    made = first.stat().st_mtime_ns
    assert compressed(folder, tmp_path / "cache") == first
    assert first.stat().st_mtime_ns == made
    (folder / "site.js").write_text("other")
    other = compressed(folder, tmp_path / "cache")
    assert other != first
    assert (other / "site.js").read_text() == "other"


def test_the_typeface_is_cut_down_to_what_pages_need(tmp_path: Path) -> None:
    folder = typeface(tmp_path)
    for file in (folder / "inter-400.woff2", folder / "inter-600.woff2"):
        assert file.stat().st_size < 25_000
        letters = TTFont(file).getBestCmap()
        assert {ord(each) for each in "Aéß0…→$"} <= letters.keys()
    made = folder.stat().st_mtime_ns
    assert typeface(tmp_path).stat().st_mtime_ns == made
