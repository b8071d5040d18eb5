"""Live sound: in order, few pieces at a time, and from one attempt only."""

import asyncio
import base64
import time

from modelpilot.jobs import stream, valkey
from modelpilot.jobs.follow import Reader
from modelpilot.jobs.ids import new_id
from modelpilot.jobs.stream import END, Channel, Publisher
from tests.jobs.test_stream import publisher, run

__all__ = ["publisher"]

PIECES = [bytes([number]) * 1000 for number in range(100)]


def test_a_follower_hears_all_in_order(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        subscription = reader.subscribe(channel.job)
        heard = b""
        for piece in PIECES[:10]:
            channel.sound(piece, 24_000, [])
            while True:
                event = await subscription.get()
                if event["type"] == "sound" and event["offset"] == len(heard):
                    heard += base64.b64decode(event["data"])
                    break
        channel.end()
        assert heard == b"".join(PIECES[:10])

    run(follow)


def test_valkey_keeps_few_pieces_and_not_for_long(publisher: Publisher) -> None:
    channel = publisher.open(new_id(), 1)
    for piece in PIECES:
        channel.sound(piece, 24_000, [])
        wait_until_flushed(channel)
    client = valkey.client()
    assert client.xlen(stream.key(channel.job)) <= stream.SOUND_ENTRIES
    channel.end()
    time.sleep(0.1)
    assert client.ttl(stream.key(channel.job)) <= stream.SOUND_LIFETIME_S
    assert channel.sounds == []


def wait_until_flushed(channel: Channel) -> None:
    give_up = time.monotonic() + 5
    while channel.sounds or channel in channel.publisher.touched:
        assert time.monotonic() < give_up
        time.sleep(0.002)


def test_what_was_not_taken_is_sent_again(publisher: Publisher) -> None:
    async def follow(reader: Reader) -> None:
        channel = publisher.open(new_id(), 1)
        subscription = reader.subscribe(channel.job)
        channel.sound(b"one", 24_000, [])
        first = await subscription.get()
        await asyncio.to_thread(valkey.client().flushdb)
        channel.sound(b"two", 24_000, [])
        channel.end()
        events = [first]
        while END not in events:
            events.append(await subscription.get())
        sounds = {e["offset"]: base64.b64decode(e["data"]) for e in events if e["type"] == "sound"}
        assert sounds == {0: b"one", 3: b"two"}

    run(follow)
