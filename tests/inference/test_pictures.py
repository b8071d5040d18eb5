"""Pictures that come with a request, and the files that go back."""

import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import pytest
from PIL import Image

from inference.drawing import pictures
from inference.errors import InvalidRequest
from tests.inference.drawing import encoded


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is of this size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_what_is_read(format: str) -> None:  # noqa: A002
    content = encoded(Image.new("RGB", (40, 30), "red"), format)
    assert pictures.check(content) == (40, 30)
    picture = pictures.read(content)
    assert (picture.mode, picture.size) == ("RGB", (40, 30))
    red, green, blue = picture.getpixel((20, 15))  # type: ignore[misc]
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "must be a PNG, JPEG or WebP"),
        (b"hello", "must be a PNG, JPEG or WebP"),
        (encoded(Image.new("RGB", (8, 8)), "GIF"), "must be a PNG, JPEG or WebP"),
        (encoded(Image.new("RGB", (8, 8)), "BMP"), "must be a PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "must be a PNG, JPEG or WebP"),
        (bomb(4097, 8), "it has 4097x8"),
        (bomb(4096, 4096), "it has 4096x4096"),
        (bomb(10_000, 10_000), "far more"),
        (bomb(60_000, 60_000), "far more"),
    ],
)
def test_what_is_refused_by_its_header(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as error:
        pictures.check(content, "mask")
    assert error.value.param == "mask"
    assert error.value.message.startswith("mask ")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_broken_file_is_refused_when_it_is_read(format: str) -> None:  # noqa: A002
    noise = Image.effect_noise((64, 64), 90)
    content = encoded(noise, format)
    # WebP's decoder sees it at once.
    with pytest.raises(InvalidRequest, match=r"image (is a broken file|must be a PNG)"):
        pictures.read(content[: len(content) // 2])
    with pytest.raises(InvalidRequest, match="image is a broken file"):
        pictures.read(bomb(64, 64))


def test_a_picture_stands_upright_and_on_white() -> None:
    turned = Image.new("RGB", (40, 20), "blue")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pictures.read(encoded(turned, "JPEG", exif=exif)).size == (20, 40)
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert pictures.read(encoded(clear)).getpixel((1, 1)) == (255, 255, 255)


def test_a_mask_is_white_or_transparent_where_a_picture_may_change() -> None:
    grey = Image.new("L", (4, 2), 0)
    grey.paste(255, (2, 0, 4, 2))
    mask = pictures.read_mask(encoded(grey))
    assert (mask.mode, mask.getpixel((0, 0)), mask.getpixel((3, 0))) == ("L", 0, 255)
    # OpenAI's clients send the picture with a hole in it.
    hole = Image.new("RGBA", (4, 2), (255, 255, 255, 255))
    hole.paste((0, 0, 0, 0), (2, 0, 4, 2))
    mask = pictures.read_mask(encoded(hole))
    assert (mask.mode, mask.getpixel((0, 0)), mask.getpixel((3, 0))) == ("L", 0, 255)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_what_is_written_can_be_read(format: str) -> None:  # noqa: A002
    picture = Image.linear_gradient("L").convert("RGB")
    content = pictures.write(picture, format, {"seed": "1"})
    opened = Image.open(io.BytesIO(content))
    assert opened.format == format.upper()
    assert Image.MIME[format.upper()] == pictures.FORMATS[format].media_type
    difference: Any = zip(opened.convert("RGB").tobytes(), picture.tobytes(), strict=True)
    assert max(abs(one - other) for one, other in difference) < 12


def test_a_preview_is_small_and_keeps_its_shape() -> None:
    preview = Image.open(io.BytesIO(pictures.preview(Image.new("RGB", (1024, 512)))))
    assert (preview.format, preview.size) == ("JPEG", (256, 128))


def test_the_web_process_may_import_it() -> None:
    code = (
        "import sys; from inference.drawing import pictures, placement;"
        "print({'numpy', 'torch', 'diffusers', 'av'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
