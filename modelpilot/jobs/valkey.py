"""Connections to Valkey, one set per process. Nothing here is the truth about a job."""

from functools import cache

import redis
import redis.asyncio
from django.conf import settings

# What to expect of a Valkey that is down, restarting, or full: the caller goes on
# without it.
AWAY = (redis.RedisError, OSError)


@cache
def client() -> redis.Redis:
    """For threads: pods, node, housekeeping, and web threads after a submit."""
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=3, health_check_interval=5
    )


def async_client() -> redis.asyncio.Redis:
    """For one event loop; the caller keeps it."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL, socket_timeout=15, socket_connect_timeout=3
    )
