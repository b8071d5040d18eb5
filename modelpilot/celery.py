"""Celery carries doorbells and the housekeeping's clock; no job depends on a message.

Settings as measured in the design: a message may be lost or doubled without harm, so
they are acknowledged early and never wait for a visibility timeout.
"""

import os
import warnings

from celery import Celery
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "modelpilot.settings")  # noqa: TID251

from django.conf import settings

HOUSEKEEPING = "housekeeping"

# Celery warns root about messages that carry pickles; only JSON is accepted below.
warnings.filterwarnings("ignore", category=SecurityWarning)


def broker_url(url: str) -> str:
    """kombu's spelling of a Valkey URL: unix sockets are `redis+socket://path?virtual_host=N`."""
    if not url.startswith("unix://"):
        return url
    path, _, query = url.removeprefix("unix://").partition("?")
    return f"redis+socket://{path}?virtual_host={query.removeprefix('db=') or '0'}"


app = Celery("modelpilot", broker=broker_url(settings.REDIS_URL))
app.conf.update(
    include=["modelpilot.jobs.housekeeping"],
    task_acks_late=False,
    task_ignore_result=True,
    task_default_queue=HOUSEKEEPING,
    accept_content=["json"],
    worker_disable_prefetch=True,
    worker_prefetch_multiplier=1,
    worker_enable_prefetch_count_reduction=False,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_soft_shutdown_timeout=30,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 60,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 5,
    },
    # Each tick expires before the next but one, so they don't pile up behind a slow one.
    beat_schedule={
        "rescue": {"task": "rescue", "schedule": 5.0, "options": {"expires": 10}},
        "deliver": {"task": "deliver", "schedule": 3.0, "options": {"expires": 6}},
        "erase": {"task": "erase", "schedule": 15.0, "options": {"expires": 30}},
        "tidy": {"task": "tidy", "schedule": 86_400.0, "options": {"expires": 86_400}},
        "notify": {"task": "notify", "schedule": 60.0, "options": {"expires": 120}},
        "expire": {"task": "expire", "schedule": 3600.0, "options": {"expires": 3600}},
        "reconcile": {"task": "reconcile", "schedule": 3600.0, "options": {"expires": 3600}},
    },
)
