"""Following jobs from a web process: one reader, one blocking XREAD, however many clients.

Subscribe first, then look at the row: an event can't fall between. Every TICK_S each
follower gets a tick, on which it reads the row again, so that a lost event hangs nobody.
"""

import asyncio
import logging
import uuid
import weakref
from collections import deque
from typing import Any

import orjson

from modelpilot.jobs import valkey
from modelpilot.jobs.parts import Event
from modelpilot.jobs.stream import FIELD, LIFETIME_S, key, watch_key

log = logging.getLogger(__name__)

TICK_S = 5.0
WATCH_LIFETIME_S = 15
TICK: Event = {"type": "tick"}

Position = tuple[int, int]


def position(entry_id: bytes | str) -> Position:
    """`b"3-57"` as (3, 57): (attempt, seq)."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    attempt, _, seq = text.partition("-")
    return int(attempt), int(seq)


def spell(at: Position) -> str:
    return f"{at[0]}-{at[1]}"


class Subscription:
    """One follower's events of one job, after a position. Dropping it ends it."""

    def __init__(self, job: uuid.UUID, *, watched: bool, after: Position) -> None:
        self.job = job
        self.watched = watched
        # How far the reader has come, and how far its follower.
        self.position = self.passed = after
        self.events: deque[tuple[Event, Position | None]] = deque()
        self.arrived = asyncio.Event()

    def put(self, entry: Position, events: list[Event]) -> None:
        if entry > self.position:
            self.position = entry
            *first, last = events
            # Only with the last of its events has an entry been passed.
            self.events.extend([*((event, None) for event in first), (last, entry)])
            self.arrived.set()

    def push(self, event: Event) -> None:
        """Add an event that is not from the stream."""
        self.events.append((event, None))
        self.arrived.set()

    async def wait(self) -> None:
        """Until there is something in `events`, at the latest after TICK_S."""
        while not self.events:
            self.arrived.clear()
            await self.arrived.wait()

    async def get(self) -> Event:
        await self.wait()
        event, entry = self.events.popleft()
        if entry is not None:
            self.passed = entry
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
        subscription = Subscription(job, watched=watched, after=after)
        followers = self.subscriptions.setdefault(key(job).encode(), weakref.WeakSet())
        followers.add(subscription)
        if self.waking is None or self.waking.done():
            self.waking = asyncio.create_task(self.wake())
        return subscription

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
                    subscription.push(TICK)
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
            followers = [follower.position for follower in self.subscriptions[stream]]
            if followers:
                streams[stream] = min(followers)
            else:
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
            events = orjson.loads(fields[FIELD])
            for subscription in followers:
                subscription.put(position(entry_id), events)


readers: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Reader]" = (
    weakref.WeakKeyDictionary()
)


def reader() -> Reader:
    """The reader of the running event loop, started on first use."""
    loop = asyncio.get_running_loop()
    if loop not in readers:
        readers[loop] = Reader()
    return readers[loop]
