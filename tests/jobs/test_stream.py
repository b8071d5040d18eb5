"""Live events: complete and in order, whatever Valkey forgets and whoever still writes."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from redis import Redis

from inference.types import Delta
from modelpilot.jobs import stream, valkey
from modelpilot.jobs.follow import BACKLOG_BYTES, TICK, Reader, Subscription
from modelpilot.jobs.ids import new_id
from modelpilot.jobs.parts import Event
from modelpilot.jobs.stream import END, RESTART, Channel, Publisher


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    client = Redis.from_url(settings.REDIS_URL)
    publisher = Publisher(client)
    publisher.start()
    yield publisher
    publisher.stop()
    client.close()


def run(work: Callable[[Reader], Awaitable[None]]) -> None:
    async def main() -> None:
        reader = Reader()
        try:
            async with asyncio.timeout(20):
                await work(reader)
        finally:
            await reader.close()

    asyncio.run(main())


async def text_until_end(subscription: Subscription) -> str:
    """What a follower shows: deltas laid at their offsets, in the order of their coming."""
    text = ""
    while True:
        event = await subscription.get()
        if event["type"] == "delta":
            assert event["offset"] <= len(text), "a piece is missing"
            text += event["text"][len(text) - event["offset"] :]
        if event == END:
            return text


def speak(channel: Channel, words: list[str]) -> None:
    for word in words:
        channel.delta(Delta(word))


WORDS = [f"word{number} " for number in range(500)]


def test_a_follower_gets_everything_in_order(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        subscription = reader.subscribe(channel.job)
        await asyncio.to_thread(speak, channel, WORDS)
        channel.end()
        assert await text_until_end(subscription) == "".join(WORDS)

    run(follow)


def test_only_who_hears_nothing_is_ticked(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick is a look at the row: of a stream that flows it would be one for nothing."""
    monkeypatch.setattr("modelpilot.jobs.follow.TICK_S", 0.3)

    async def listen(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        speaking, silent = reader.subscribe(channel.job), reader.subscribe(new_id())
        for word in WORDS[:12]:
            channel.delta(Delta(word))
            assert (await speaking.get())["type"] == "delta"
            await asyncio.sleep(0.1)
        assert TICK in [event for event, *_ in silent.events]
        # Nor is it forgotten once it is silent.
        assert await speaking.get() == TICK

    run(listen)


def test_one_reader_follows_many_jobs(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        channels = [publisher.open(new_id(), 1) for _ in range(40)]
        subscriptions = [reader.subscribe(channel.job) for channel in channels]
        for number, channel in enumerate(channels):
            speak(channel, [f"{number}:", *WORDS[:50]])
            channel.end()
        texts = await asyncio.gather(*map(text_until_end, subscriptions))
        assert texts == [f"{number}:" + "".join(WORDS[:50]) for number in range(40)]

    run(follow)


def test_it_goes_on_after_a_position(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        first = reader.subscribe(channel.job)
        speak(channel, ["one "])
        assert (await first.get())["text"] == "one "
        second = reader.subscribe(channel.job, after=first.position)
        speak(channel, ["two"])
        assert (await second.get())["text"] == "two"

    run(follow)


def test_who_comes_while_others_listen_misses_nothing(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each word by itself, and soon enough to come while the reader asks.
    monkeypatch.setattr(stream, "LINGER_S", 0.0)

    async def follow(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        first = reader.subscribe(channel.job)
        comers = []
        for word in WORDS[:50]:
            speak(channel, [word])
            await first.wait()
            # The reader may be asking for what comes after this word, for the first one only.
            await asyncio.sleep(0)
            comers.append(reader.subscribe(channel.job))
            while first.events:
                await first.get()
        channel.end()
        texts = await asyncio.gather(*map(text_until_end, comers))
        assert set(texts) == {"".join(WORDS[:50])}

    run(follow)


def test_who_does_not_read_is_left_alone_and_lacks_nothing(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        stalled, other = (reader.subscribe(channel.job) for _ in range(2))
        said = []
        for number in range(400):
            said.append(f"{number} and so on, and on " * 20)
            await asyncio.to_thread(speak, channel, said[-1:])
            assert (await other.get())["text"] == said[-1]
        channel.end()
        assert await other.get() == END
        assert stalled.backlog < 2 * BACKLOG_BYTES < sum(map(len, said)) / 4
        assert await text_until_end(stalled) == "".join(said)

    run(follow)


def test_a_zombie_is_shut_out(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        zombie = publisher.open(new_id(), 1)
        subscription = reader.subscribe(zombie.job)
        speak(zombie, ["stale "])
        assert (await subscription.get())["text"] == "stale "
        await asyncio.to_thread(stream.restart, zombie.job, 1)
        speak(zombie, ["staler "])
        current = publisher.open(zombie.job, 2)
        speak(current, ["fresh"])
        current.end()
        events: list[Event] = []
        while END not in events:
            events.append(await subscription.get())
        assert events[0] == RESTART
        assert "".join(event.get("text", "") for event in events) == "fresh"
        # All that it had to say was sent by then, or never will be.
        await asyncio.to_thread(publisher.stop)
        entries: Any = await asyncio.to_thread(valkey.client().xrange, stream.key(zombie.job))
        assert not any(b"staler" in fields[stream.FIELD] for _, fields in entries)

    run(follow)


def test_what_valkey_forgets_is_sent_again(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        subscription = reader.subscribe(channel.job)
        for start in range(0, 500, 100):
            await asyncio.to_thread(speak, channel, WORDS[start : start + 100])
            await asyncio.sleep(0.05)
            await asyncio.to_thread(valkey.client().flushdb)
        channel.end()
        assert await text_until_end(subscription) == "".join(WORDS)

    run(follow)


def test_who_comes_after_valkey_forgot_lacks_nothing(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        first = reader.subscribe(channel.job)
        speak(channel, ["forgotten "])
        assert (await first.get())["text"] == "forgotten "
        await asyncio.to_thread(valkey.client().flushdb)
        speak(channel, ["remembered"])
        channel.end()
        late = reader.subscribe(channel.job)
        assert await text_until_end(late) == "forgotten remembered"

    run(follow)


def test_a_watched_job_is_watched_only_while_followed() -> None:
    async def follow(reader: Reader) -> None:
        job = new_id()
        subscription = reader.subscribe(job, watched=True)
        await reader.refresh_watches()
        assert await watched(job)
        assert subscription.watched
        del subscription
        await asyncio.to_thread(valkey.client().flushdb)
        await reader.refresh_watches()
        assert not await watched(job)

    run(follow)


async def watched(job: uuid.UUID) -> bool:
    return bool(await asyncio.to_thread(valkey.client().exists, stream.watch_key(job)))
