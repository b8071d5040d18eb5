"""Rate limits: a sliding window per client, and per key that has one, each counted in Valkey
in one round trip.

The window is Cloudflare's approximation: this period's count plus the share of the last
period's that still overlaps. A library would do; each that we looked at asks Valkey twice.
"""

import asyncio
import math
import time
import weakref
from dataclasses import dataclass
from typing import Any

import redis.commands.core
from django.conf import settings
from django.http import HttpRequest

from modelpilot.accounts.keys import Principal
from modelpilot.client_address import client_address
from modelpilot.errors import ApiError
from modelpilot.jobs import valkey

# -> allowed, remaining, seconds until one more is allowed (or until all are)
COUNT = """
local limit, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = (time[1] + time[2] / 1e6) / period
local bucket = math.floor(now)
local kept = redis.call('HMGET', KEYS[1], 'bucket', 'current', 'previous')
local current, previous = 0, 0
if tonumber(kept[1]) == bucket then
    current, previous = tonumber(kept[2]), tonumber(kept[3])
elseif tonumber(kept[1]) == bucket - 1 then
    previous = tonumber(kept[2])
end
local left = 1 - (now - bucket)
local used = current + previous * left
local allowed = used + 1 <= limit
if allowed then
    current = current + 1
    used = used + 1
    redis.call('HSET', KEYS[1], 'bucket', bucket, 'current', current, 'previous', previous)
    redis.call('PEXPIRE', KEYS[1], period * 2000)
end
return {allowed and 1 or 0, tostring(used), current, previous, tostring(left)}
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one request found: `reset_s` until the window is empty enough for one more."""

    name: str
    limit: int
    period: int
    allowed: bool
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Policy": f'"{self.name}";q={self.limit};w={self.period}',
            "RateLimit": f'"{self.name}";r={self.remaining};t={self.reset_s}',
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_s}s",
        }


def judge(
    name: str,
    limit: int,
    period: int,
    allowed: bool,
    used: float,
    current: int,
    previous: int,
    left: float,
) -> Verdict:
    remaining = max(0, int(limit - used))
    if remaining:
        wait = left * period
    elif current < limit:
        # Room comes as the previous period slides out.
        wait = (left - (limit - 1 - current) / max(previous, 1)) * period
    else:
        # Only once this period has become the previous one, and slid out a little.
        wait = (left + 1 - (limit - 1) / current) * period
    return Verdict(name, limit, period, allowed, remaining, max(1, math.ceil(wait)))


class Windows:
    """The counters of one event loop; its own memory stands in while Valkey is away."""

    def __init__(self) -> None:
        self.client = valkey.async_client()
        self.script: redis.commands.core.AsyncScript = self.client.register_script(COUNT)
        self.local: dict[str, tuple[int, int, int]] = {}

    async def count(self, key: str, limit: int, period: int) -> tuple[Any, ...]:
        try:
            async with asyncio.timeout(1):
                allowed, used, current, previous, left = await self.script(
                    keys=[f"rate:{key}"], args=[limit, period]
                )
            return bool(allowed), float(used), int(current), int(previous), float(left)
        except (*valkey.AWAY, TimeoutError):
            return self.count_locally(key, limit, period)

    def count_locally(self, key: str, limit: int, period: int) -> tuple[Any, ...]:
        now = time.time() / period
        bucket = int(now)
        kept, current, previous = self.local.get(key, (bucket, 0, 0))
        if kept == bucket - 1:
            current, previous = 0, current
        elif kept != bucket:
            current, previous = 0, 0
        left = 1 - (now - bucket)
        used = current + previous * left
        allowed = used + 1 <= limit
        if allowed:
            current, used = current + 1, used + 1
            if len(self.local) > 10_000:
                self.local.clear()
            self.local[key] = (bucket, current, previous)
        return allowed, used, current, previous, left


windows: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Windows]" = (
    weakref.WeakKeyDictionary()
)


async def check(request: HttpRequest, *, polling: bool = False) -> None:
    """Count this request against its client's limit, and its key's if it has one; ApiError 429
    when one is used up. Looking counts for the client only."""
    loop = asyncio.get_running_loop()
    if loop not in windows:
        windows[loop] = Windows()
    name, (limit, period) = (
        ("polling", settings.POLL_RATE_LIMIT) if polling else ("default", settings.RATE_LIMIT)
    )
    counted = await windows[loop].count(f"{name}:{client_address(request)}", limit, period)
    verdict = judge(name, limit, period, *counted)
    principal: Principal | None = request.scope.get("modelpilot.principal")  # type: ignore[attr-defined]
    if verdict.allowed and not polling and principal and principal.requests_per_minute:
        limit = principal.requests_per_minute
        counted = await windows[loop].count(f"key:{principal.key_id}", limit, 60)
        verdict = tighter(verdict, judge("key", limit, 60, *counted))
    request.scope["modelpilot.headers"] = verdict.headers()  # type: ignore[attr-defined]
    if not verdict.allowed:
        whose = "With this API key you" if verdict.name == "key" else "You"
        raise ApiError(
            429,
            "rate_limit_exceeded",
            f"{whose} have sent {verdict.limit} requests in {verdict.period} seconds. "
            f"Wait {verdict.reset_s} seconds before the next one.",
            type="rate_limit_error",
            headers={"Retry-After": str(verdict.reset_s)},
        )


def tighter(one: Verdict, other: Verdict) -> Verdict:
    """The one that refuses, else the one that leaves less."""
    return min(one, other, key=lambda verdict: (verdict.allowed, verdict.remaining))


async def check_tries(name: str, who: str, limit: int, period: int) -> None:
    """Count one try of what could be guessed; ApiError 429 when `who` has had them all."""
    loop = asyncio.get_running_loop()
    if loop not in windows:
        windows[loop] = Windows()
    verdict = judge(name, limit, period, *await windows[loop].count(f"{name}:{who}", limit, period))
    if not verdict.allowed:
        raise ApiError(
            429,
            "rate_limit_exceeded",
            f"You have tried {limit} times. Wait {verdict.reset_s} seconds before the next one.",
            type="rate_limit_error",
            headers={"Retry-After": str(verdict.reset_s)},
        )
