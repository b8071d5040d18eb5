"""Following jobs from a web process: one reader, one blocking XREAD, however many clients.

Subscribe first, then look at the row: an event can't fall between. A follower that has heard
nothing for TICK_S gets a tick, on which it reads the row again, so that a lost event hangs
nobody. A follower whose client does not read is left alone once it has BACKLOG_BYTES before it:
what comes then stays in Valkey until it goes on.
"""

import asyncio
import logging
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from modelpilot.jobs import valkey
from modelpilot.jobs.parts import Event
from modelpilot.jobs.stream import FIELD, LIFETIME_S, key, watch_key

log = logging.getLogger(__name__)

TICK_S = 5.0
WATCH_LIFETIME_S = 15
TICK: Event = {"type": "tick"}
# As they are in Valkey; in here they take some five times that. One entry more may come.
BACKLOG_BYTES = 16 * 1024

Position = tuple[int, int]


def position(entry_id: bytes | str) -> Position:
    """`b"3-57"` as (3, 57): (attempt, seq)."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    attempt, _, seq = text.partition("-")
    return int(attempt), int(seq)


def spell(at: Position) -> str:
    return f"{at[0]}-{at[1]}"


class Subscription:
    """One follower's events of one job, after a position. Dropping it ends it.

    `resume` is called when it has been left alone and has room again.
    """

    def __init__(
        self, job: uuid.UUID, resume: Callable[[], None], *, watched: bool, after: Position
    ) -> None:
        self.job = job
        self.resume = resume
        self.watched = watched
        # How far the reader has come, and how far its follower.
        self.position = self.passed = after
        # With the last event of each entry, where that was and how large.
        self.events: deque[tuple[Event, Position | None, int]] = deque()
        self.backlog = 0
        self.left_alone = False
        # Since the last look of `Reader.tick`.
        self.heard = False
        self.arrived = asyncio.Event()

    def has_room(self) -> bool:
        self.left_alone = self.backlog >= BACKLOG_BYTES
        return not self.left_alone

    def put(self, entry: Position, events: list[Event], size: int) -> None:
        self.position = entry
        self.heard = True
        *first, last = events
        # Only with the last of its events has an entry been passed.
        self.events.extend([*((event, None, 0) for event in first), (last, entry, size)])
        self.backlog += size
        self.arrived.set()

    def push(self, event: Event) -> None:
        """Add an event that is not from the stream."""
        self.events.append((event, None, 0))
        self.arrived.set()

    async def wait(self) -> None:
        """Until there is something in `events`, at the latest after TICK_S."""
        while not self.events:
            self.arrived.clear()
            await self.arrived.wait()

    async def get(self) -> Event:
        await self.wait()
        event, entry, size = self.events.popleft()
        if entry is not None:
            self.passed = entry
            self.backlog -= size
            if self.left_alone and self.backlog < BACKLOG_BYTES // 2:
                self.left_alone = False
                self.resume()
        return event

    def peek(self) -> Event:
        """The event that `get` would return now."""
        return self.events[0][0]


class Reader:
    """Multiplexes all followers of this event loop over one connection."""

    def __init__(self) -> None:
        self.client = valkey.async_client()
        self.control = f"web:{uuid.uuid4().hex}".encode()
        self.control_position: Position = (0, 0)
        # Followers are held by their requests alone: one that goes away is gone here too.
        self.subscriptions: dict[bytes, weakref.WeakSet[Subscription]] = {}
        # Not ended by cancelling: redis-py may swallow that.
        self.closed = False
        self.reading = asyncio.create_task(self.read())
        self.ticking = asyncio.create_task(self.tick())
        self.waking: asyncio.Task[None] | None = None

    def subscribe(
        self, job: uuid.UUID, *, watched: bool = False, after: Position = (0, 0)
    ) -> Subscription:
        """Follow a job; `watched` keeps its `watch:` key alive meanwhile."""
        subscription = Subscription(job, self.wake_soon, watched=watched, after=after)
        followers = self.subscriptions.setdefault(key(job).encode(), weakref.WeakSet())
        followers.add(subscription)
        self.wake_soon()
        return subscription

    def wake_soon(self) -> None:
        if self.waking is None or self.waking.done():
            self.waking = asyncio.create_task(self.wake())

    async def close(self) -> None:
        """Stop following; for loops that end before their process does."""
        self.closed = True
        self.ticking.cancel()
        await self.wake()
        await self.reading
        await self.client.aclose()

    async def wake(self) -> None:
        """Make the reader look at its subscriptions again; one call serves all of this turn."""
        try:
            # It expires some time after the last `refresh_watches`.
            await self.client.xadd(self.control, {b"w": b""}, maxlen=1, approximate=False)
        except valkey.AWAY as error:
            log.warning("Valkey is away, followers wait for the row: %s", error)

    async def refresh_watches(self) -> None:
        """Say that somebody still waits. A pod believes the contrary only after 15 s."""
        watched = [
            subscription.job
            for followers in list(self.subscriptions.values())
            for subscription in followers
            if subscription.watched
        ]
        try:
            pipeline = self.client.pipeline(transaction=False)
            for job in watched:
                pipeline.set(watch_key(job), b"", ex=WATCH_LIFETIME_S)
            pipeline.expire(self.control, LIFETIME_S)
            await pipeline.execute()
        except valkey.AWAY as error:
            log.warning("Valkey is away, watches are not refreshed: %s", error)

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for followers in list(self.subscriptions.values()):
                for subscription in followers:
                    if not (subscription.events or subscription.heard):
                        subscription.push(TICK)
                    subscription.heard = False
            await self.refresh_watches()

    async def read(self) -> None:
        while not self.closed:
            asked = self.positions()
            try:
                after: Any = {stream: spell(at) for stream, at in asked.items()}
                answer: Any = await self.client.xread(after, block=int(TICK_S * 1000))
            except valkey.AWAY as error:
                log.warning("Valkey is away, followers wait for the row: %s", error)
                await asyncio.sleep(0.5)
                continue
            for stream, entries in answer or ():
                self.deliver(stream, entries, asked[stream])

    def positions(self) -> dict[bytes, Position]:
        """Where to read on in each stream; streams without followers are forgotten here."""
        streams = {self.control: self.control_position}
        for stream in list(self.subscriptions):
            followers = list(self.subscriptions[stream])
            if reading := [each.position for each in followers if each.has_room()]:
                streams[stream] = min(reading)
            elif not followers:
                del self.subscriptions[stream]
        return streams

    def deliver(
        self, stream: bytes, entries: list[tuple[bytes, dict[bytes, bytes]]], after: Position
    ) -> None:
        """Give what Valkey said of a stream `after` that position to its followers.

        Not to those who came while it was asked, and lack what was before: it is theirs with the
        next answer.
        """
        if stream == self.control:
            self.control_position = position(entries[-1][0])
            return
        followers = [
            follower
            for follower in self.subscriptions.get(stream, ())
            if follower.position >= after
        ]
        for entry_id, fields in entries:
            entry, size = position(entry_id), len(fields[FIELD])
            events = orjson.loads(fields[FIELD])
            for subscription in followers:
                if subscription.position < entry and subscription.has_room():
                    subscription.put(entry, events, size)


readers: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Reader]" = (
    weakref.WeakKeyDictionary()
)


def reader() -> Reader:
    """The reader of the running event loop, started on first use."""
    loop = asyncio.get_running_loop()
    if loop not in readers:
        readers[loop] = Reader()
    return readers[loop]
