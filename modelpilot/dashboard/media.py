"""What jobs made, as pages show it: pictures, films and sound behind signed links."""

from dataclasses import dataclass

from modelpilot.jobs import storage
from modelpilot.jobs.models import Job, Output


@dataclass(frozen=True, slots=True)
class Media:
    """A file of a job; `shape` is "image", "video", "audio" or "file", `poster` a film's."""

    name: str
    url: str
    media_type: str
    bytes: int
    shape: str
    poster: str = ""


def of(job: Job) -> list[Media]:
    """The job's files; a film's poster is not one of them, but its own."""
    outputs = sorted(job.outputs.all(), key=lambda output: output.name)
    if not any(shape(output) == "video" for output in outputs):
        return [media(output) for output in outputs]
    pictures = [link(output) for output in outputs if shape(output) == "image"]
    poster = pictures[0] if pictures else ""
    return [media(output, poster) for output in outputs if shape(output) == "video"]


def media(output: Output, poster: str = "") -> Media:
    return Media(output.name, link(output), output.media_type, output.bytes, shape(output), poster)


# How long a page's link to a file stays the same: the browser doesn't load it again meanwhile.
SAME_S = 300


def link(output: Output) -> str:
    return storage.signed_path(output.id, steps_s=SAME_S)


# What browsers play without being told more: raw samples are none of it.
PLAYED = {"audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/x-wav"}


def shape(output: Output) -> str:
    major = output.media_type.partition("/")[0]
    if major == "audio":
        return "audio" if output.media_type in PLAYED else "file"
    return major if major in ("image", "video") else "file"
