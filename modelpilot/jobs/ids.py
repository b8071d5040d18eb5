"""The spellings of a job's one id: `chatcmpl-…`, `gen_…`, `sync-…`, `vid_…`, `run-…`, or bare."""

import uuid

PREFIXES = ("chatcmpl-", "gen_", "sync-", "vid_", "run-")


def spell(prefix: str, job_id: uuid.UUID) -> str:
    return prefix + job_id.hex


def parse(text: str) -> uuid.UUID | None:
    """The id in any of its spellings, or None where it can't be one."""
    for prefix in PREFIXES:
        text = text.removeprefix(prefix)
    try:
        return uuid.UUID(hex=text)
    except ValueError:
        return None
