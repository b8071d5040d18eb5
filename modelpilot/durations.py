"""Durations as people write them: `90`, `90s`, `2m`, `24h`, `30d`."""

import re

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
WRITTEN = re.compile(r"(\d{1,6})([smhd]?)", re.ASCII)


def seconds(text: str) -> int:
    """The seconds of a written duration; ValueError if it is none."""
    match = WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration such as 90s, 2m, 24h or 30d.")
    return int(match[1]) * SECONDS[match[2]]
