"""A job's one id, and its spellings: `chatcmpl-…`, `gen_…`, `sync-…`, `vid_…`, `run-…`, or bare."""

import os
import time
import uuid
from datetime import datetime

PREFIXES = ("chatcmpl-", "gen_", "sync-", "vid_", "run-")


def new_id() -> uuid.UUID:
    """A random id that sorts by time (UUIDv7, RFC 9562), so that listing needs no other index."""
    milliseconds = time.time_ns() // 1_000_000
    value = bytearray(milliseconds.to_bytes(6, "big") + os.urandom(10))
    value[6] = value[6] & 0x0F | 0x70
    value[8] = value[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(value))


def first_id(moment: datetime) -> uuid.UUID:
    """The least id that can have been made at `moment`."""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(bytes=milliseconds.to_bytes(6, "big") + bytes(10))


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


def created(job: uuid.UUID) -> int:
    """When the id was made, in Unix seconds: a UUIDv7 begins with its milliseconds."""
    return int.from_bytes(job.bytes[:6], "big") // 1000
