"""Live events of jobs, in one Valkey stream `job:<id>` each. Losing one costs only liveness.

Ids are `<attempt>-<seq>`, so the stream itself refuses what a zombie appends after a later
attempt has begun. Deltas carry their offset in their part of an answer, so a repeated one is
harmless and a whole part can be sent again from offset 0 whenever Valkey may have forgotten
something.
Pieces of sound carry theirs too, but only the last few are kept there, and not for long:
who lacks one waits for the end, when the stored file has it.
"""

import base64
import logging
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson
import redis

from inference.types import Delta
from modelpilot.jobs import parts, valkey
from modelpilot.jobs.parts import Event, Part

log = logging.getLogger(__name__)

LIFETIME_S = 3600
# Sound is large: entries of it that Valkey keeps, and seconds after the end.
SOUND_ENTRIES = 32
SOUND_LIFETIME_S = 60
# How far back to look for what was said of the progress.
LATEST_ENTRIES = 5
FIELD = b"e"
# How long the publisher waits for company: a step of an engine tells a token of each of its
# requests within a few milliseconds.
LINGER_S = 0.004

# An `Event` is a delta (see `parts`) or one of
# {"type": "progress", "fraction"}
# | {"type": "sound", "offset", "data" (base64), "sample_rate", "warnings"}
# | {"type": "preview", "media_type", "data" (base64)}
# | {"type": "restart"} | {"type": "end"}: read the row
END: Event = {"type": "end"}
RESTART: Event = {"type": "restart"}


def key(job: uuid.UUID) -> str:
    return f"job:{job.hex}"


def watch_key(job: uuid.UUID) -> str:
    return f"watch:{job.hex}"


def pod_key(pod: uuid.UUID) -> str:
    return f"pod:{pod.hex}"


def append(job: uuid.UUID, entry_id: str, events: list[Event]) -> None:
    """Append from outside a pod; a Valkey that is away is logged, as followers re-read the row."""
    try:
        pipeline = valkey.client().pipeline(transaction=False)
        pipeline.xadd(key(job), {FIELD: orjson.dumps(events)}, id=entry_id)
        pipeline.expire(key(job), LIFETIME_S)
        pipeline.execute()
    except valkey.AWAY as error:
        log.warning("No event for job %s: %s", job, error)


def progress(job: uuid.UUID) -> float | None:
    """How far the running attempt said it is, 0.0 to 1.0, if it said so lately."""
    try:
        entries: Any = valkey.client().xrevrange(key(job), count=LATEST_ENTRIES)
    except valkey.AWAY:
        return None
    for _, fields in entries:
        for event in reversed(orjson.loads(fields[FIELD])):
            if event["type"] == "restart":
                return None
            if event["type"] == "progress":
                return float(event["fraction"])
    return None


def close(job: uuid.UUID, attempt: int) -> None:
    """Tell followers that the job has ended, and shut out whatever attempt still runs."""
    append(job, f"{attempt + 1}-0", [END])


def restart(job: uuid.UUID, attempt: int) -> None:
    """Tell followers that `attempt` was given up and the job waits again."""
    append(job, f"{attempt + 1}-0", [RESTART])


def tell_pod(pod: uuid.UUID, job: uuid.UUID) -> None:
    """Ask the pod to stop a job now; its next lease renewal would tell it anyway."""
    try:
        pipeline = valkey.client().pipeline(transaction=False)
        pipeline.xadd(pod_key(pod), {b"cancel": job.hex}, maxlen=1000)
        pipeline.expire(pod_key(pod), LIFETIME_S)
        pipeline.execute()
    except valkey.AWAY as error:
        log.warning("Pod %s was not told to cancel job %s: %s", pod, job, error)


@dataclass(eq=False)
class Channel:
    """What one attempt has published: all it said, and what waits for the next flush."""

    job: uuid.UUID
    attempt: int
    publisher: "Publisher"
    # By the index of the answer and the name of its part.
    parts: dict[tuple[int, str], Part] = field(default_factory=dict)
    # Pieces of sound that Valkey may not have yet, and the bytes of all there were.
    sounds: list[Event] = field(default_factory=list)
    sound_bytes: int = 0
    fraction: float | None = None
    # The latest picture of what it will be.
    picture: bytes | None = None
    ended: bool = False
    seq: int = 0
    # Valkey may lack some of it: send everything again.
    resend: bool = True

    def delta(self, delta: Delta) -> None:
        with self.publisher.lock:
            part = self.parts.get((delta.index, delta.part))
            if part is None:
                part = self.parts[delta.index, delta.part] = Part(delta.call)
            part.add(delta)
        self.publisher.touch(self)

    def choices(self, finish_reason: str) -> list[dict[str, Any]]:
        """The answers so far, in the shape of `inference.types.Result`."""
        with self.publisher.lock:
            return parts.choices(self.parts, finish_reason)

    def sound(self, content: bytes, sample_rate: int, warnings: list[str]) -> None:
        with self.publisher.lock:
            self.sounds.append(
                {
                    "type": "sound",
                    "offset": self.sound_bytes,
                    "data": base64.b64encode(content).decode(),
                    "sample_rate": sample_rate,
                    "warnings": warnings,
                }
            )
            self.sound_bytes += len(content)
        self.publisher.touch(self)

    def progress(self, fraction: float) -> None:
        self.fraction = fraction
        self.publisher.touch(self)

    def preview(self, jpeg: bytes) -> None:
        self.picture = jpeg
        self.publisher.touch(self)

    def end(self) -> None:
        self.ended = True
        self.publisher.touch(self)

    def take(self) -> list[Event]:
        """The events since the last flush. Called with the publisher's lock held."""
        events: list[Event] = []
        for (index, name), part in self.parts.items():
            if part.fresh or self.resend:
                events.append(part.take(index, name, anew=self.resend))
        events += self.sounds
        if self.fraction is not None:
            events.append({"type": "progress", "fraction": self.fraction})
            self.fraction = None
        if self.picture is not None:
            data = base64.b64encode(self.picture).decode()
            events.append({"type": "preview", "media_type": "image/jpeg", "data": data})
            self.picture = None
        if self.ended:
            events.append(END)
        self.seq += 1
        return events


class Publisher:
    """A pod's one writer: each flush sends what all its jobs produced since the last.

    Flushes follow each other at once, so under load the batches grow by themselves.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self.lock = threading.Lock()
        self.touched: set[Channel] = set()
        self.wake = threading.Event()
        self.stopping = False
        self.thread = threading.Thread(target=self.run, name="publisher", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Flush what is left, for at most `timeout_s`."""
        self.stopping = True
        self.wake.set()
        self.thread.join(timeout_s)

    def open(self, job: uuid.UUID, attempt: int) -> Channel:
        return Channel(job, attempt, self)

    def touch(self, channel: Channel) -> None:
        with self.lock:
            self.touched.add(channel)
        self.wake.set()

    def run(self) -> None:
        while not (self.stopping and not self.touched):
            self.wake.wait()
            time.sleep(LINGER_S)
            self.wake.clear()
            while self.touched:
                if not self.flush() and self.stopping:
                    return

    def flush(self) -> bool:
        with self.lock:
            channels = list(self.touched)
            self.touched.clear()
            batch = [(channel, channel.resend, channel.take()) for channel in channels]
        try:
            answers = self.send(batch)
        except valkey.AWAY as error:
            log.warning("Valkey is away, events wait: %s", error)
            self.again(channels)
            threading.Event().wait(0.5)
            return False
        forgotten = []
        for (channel, _, events), answer in zip(batch, answers, strict=True):
            if answer is None:
                forgotten.append(channel)
            else:
                self.arrived(channel, events)
        self.again(forgotten)
        return True

    def arrived(self, channel: Channel, events: list[Event]) -> None:
        """Pieces of sound need not be sent again."""
        if channel.sounds:
            count = sum(event["type"] == "sound" for event in events)
            with self.lock:
                del channel.sounds[:count]

    def send(self, batch: list[tuple[Channel, bool, list[Event]]]) -> list[Any]:
        """XADD each batch; answers are ids, None where the stream had vanished, or errors."""
        # As a transaction it wakes the followers' readers once, and not at its first command.
        pipeline = self.client.pipeline(transaction=True)
        for channel, anew, events in batch:
            pipeline.xadd(
                key(channel.job),
                {FIELD: orjson.dumps(events)},
                id=f"{channel.attempt}-{channel.seq}",
                nomkstream=not anew,
                maxlen=SOUND_ENTRIES if channel.sound_bytes else None,
                approximate=False,
            )
            if anew or forgets(channel, events):
                lifetime = SOUND_LIFETIME_S if forgets(channel, events) else LIFETIME_S
                pipeline.expire(key(channel.job), lifetime)
        answers = pipeline.execute(raise_on_error=False)
        with self.lock:
            for channel, anew, events in batch:
                answer = answers.pop(0)
                if anew or forgets(channel, events):
                    answers.pop(0)
                if anew:
                    channel.resend = False
                answers.append(answer)
        return answers

    def again(self, channels: list[Channel]) -> None:
        """Send these whole in the next flush."""
        with self.lock:
            for channel in channels:
                channel.resend = True
                self.touched.add(channel)


def forgets(channel: Channel, events: list[Event]) -> bool:
    """Whether these are the last events of a job with sound."""
    return bool(channel.sound_bytes) and END in events
