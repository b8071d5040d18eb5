"""What was said when, in the formats of subtitles."""

from typing import Any


def srt(segments: list[dict[str, Any]]) -> str:
    """SubRip: numbered pieces, each with its times."""
    return "".join(
        f"{number}\n{moment(segment['start'], ',')} --> {moment(segment['end'], ',')}\n"
        f"{line(segment['text']).replace('-->', '->')}\n\n"
        for number, segment in enumerate(segments, start=1)
    )


def vtt(segments: list[dict[str, Any]]) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/)."""
    return "WEBVTT\n\n" + "".join(
        f"{moment(segment['start'], '.')} --> {moment(segment['end'], '.')}\n"
        f"{line(escaped(segment['text']))}\n\n"
        for segment in segments
    )


def moment(seconds: float, mark: str) -> str:
    """Seconds as 00:00:00 and thousandths behind `mark`."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{mark}{milliseconds % 1000:03}"


def line(text: str) -> str:
    return " ".join(text.split())


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
