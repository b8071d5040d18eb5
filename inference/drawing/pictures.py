"""Pictures in and out: what a request brings is checked before it is decoded.

The web process imports this, so Pillow and nothing heavier.
"""

import io
from dataclasses import dataclass
from typing import Any, cast

from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from inference.errors import InvalidRequest

# What a request may bring. A decoder that isn't asked for can't be attacked.
READABLE = ["PNG", "JPEG", "WEBP"]
MAX_SIDE = 4096
MAX_PIXELS = 16_000_000
PREVIEW_SIDE = 256


@dataclass(frozen=True, slots=True)
class Format:
    """How a finished picture is written: `suffix` of the file, `settings` of Pillow."""

    media_type: str
    suffix: str
    settings: dict[str, Any]


FORMATS = {
    "png": Format("image/png", "png", {"format": "PNG"}),
    "jpeg": Format("image/jpeg", "jpg", {"format": "JPEG", "quality": 92}),
    "webp": Format("image/webp", "webp", {"format": "WEBP", "quality": 90}),
}


def check(content: bytes, param: str = "image") -> tuple[int, int]:
    """Width and height in pixels, from the header; raises InvalidRequest for what we don't read."""
    with _opened(content, param) as picture:
        return picture.size


def read(content: bytes, param: str = "image") -> Image.Image:
    """The picture upright and in RGB, on white where it was transparent; raises InvalidRequest."""
    picture = _decoded(content, param)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def read_mask(content: bytes, param: str = "mask") -> Image.Image:
    """In greys, white where a picture may change; raises InvalidRequest.

    A mask with transparent parts is one as OpenAI's clients send: these parts may change.
    """
    picture = _decoded(content, param)
    if not picture.has_transparency_data:
        return picture.convert("L")
    return ImageOps.invert(picture.convert("RGBA").getchannel("A"))


def write(picture: Image.Image, format: str, parameters: dict[str, str]) -> bytes:  # noqa: A002
    """The picture as a file of `format`; a PNG tells by which `parameters` it was made."""
    settings = dict(FORMATS[format].settings)
    if format == "png":
        settings["pnginfo"] = PngInfo()
        for name, value in parameters.items():
            settings["pnginfo"].add_text(name, value)
    return _saved(picture, settings)


def preview(picture: Image.Image) -> bytes:
    """A small JPEG, PREVIEW_SIDE pixels at most."""
    small = picture.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return _saved(small, {"format": "JPEG", "quality": 75})


def enlarged(picture: Image.Image, width: int, height: int) -> Image.Image:
    """`picture` at this size in pixels; where the shape differs, its own border is continued."""
    border = cast(tuple[int, ...], picture.getpixel((0, 0)))
    return ImageOps.pad(picture, (width, height), Image.Resampling.LANCZOS, color=border)


def check_format(format: str) -> None:  # noqa: A002
    """Raise InvalidRequest if `format` is none of ours: before the work, not after it."""
    if format not in FORMATS:
        raise InvalidRequest(
            f"There is no picture format {format!r}. Choose one of {', '.join(FORMATS)}.",
            param="format",
        )


def _saved(picture: Image.Image, settings: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, **settings)
    return stream.getvalue()


def _decoded(content: bytes, param: str) -> Image.Image:
    with _opened(content, param) as picture:
        try:
            picture.load()
            return ImageOps.exif_transpose(picture)
        except Exception as error:
            # Each decoder has its own errors for a file that is broken.
            raise InvalidRequest(f"{param} is a broken file: {error}.", param=param) from error


def _opened(content: bytes, param: str) -> Image.Image:
    """The picture with only its header read, and no larger than we decode."""
    try:
        picture = Image.open(io.BytesIO(content), formats=READABLE)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(param) from error
    except Exception as error:
        raise InvalidRequest(f"{param} must be a PNG, JPEG or WebP file.", param=param) from error
    width, height = picture.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise _too_large(param, f"it has {width}x{height}")
    return picture


def _too_large(param: str, size: str = "it has far more") -> InvalidRequest:
    return InvalidRequest(
        f"{param} may have {MAX_SIDE} pixels a side and {MAX_PIXELS // 1_000_000} megapixels "
        f"in all; {size}.",
        param=param,
    )
