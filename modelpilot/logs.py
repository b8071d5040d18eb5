"""Log lines: what happened to which request and which job, and never a key or a prompt.

JSON, a line each, where a program reads them; plain words where stderr is a terminal
(MODELPILOT_LOG_FORMAT decides otherwise). Whatever a library logs comes out the same way.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec

import orjson
import structlog

P = ParamSpec("P")
Event = MutableMapping[str, Any]

request_id: ContextVar[str] = ContextVar("request_id", default="-")


def logger(name: str) -> Any:
    """A logger whose lines carry fields: `log.info("job claimed", job=id)`."""
    return structlog.stdlib.get_logger(name)


def harmless(function: Callable[P, None]) -> Callable[P, None]:
    """For what only tells of the work: whatever goes wrong in it, the work goes on."""

    @wraps(function)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logging.getLogger(__name__).exception("%s was not recorded.", function.__qualname__)

    return attempt


KEY = re.compile(r"(mp_(?:live|test)_|whsec_|sk_(?:live|test)_)[\w+/=]+")
PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s/@]+@")


def redacted(text: str) -> str:
    """Without API keys, secrets of webhooks and Stripe, and passwords in addresses."""
    return PASSWORD.sub(r"\1...@", KEY.sub(r"\1...", text))


def add_request_id(_: Any, __: str, event: Event) -> Event:
    event.setdefault("request_id", request_id.get())
    return event


def drop_internals(_: Any, __: str, event: Event) -> Event:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def dumps(value: Any, **_: Any) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # Half a surrogate pair, or a number of more than 64 bits.
        return json.dumps(value, default=str)


SHARED: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    add_request_id,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]

structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *SHARED,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)


def is_text(wanted: str) -> bool:
    return wanted == "text" or (wanted != "json" and sys.stderr.isatty())


class Formatter(structlog.stdlib.ProcessorFormatter):
    """`wanted` is "json", "text", or "" for what suits stderr."""

    def __init__(self, wanted: str = "") -> None:
        if is_text(wanted):
            end: list[Any] = [
                drop_internals,
                structlog.dev.ConsoleRenderer(
                    colors=sys.stderr.isatty(),
                    pad_event_to=0,
                    # The pretty one would print local variables, and with them prompts.
                    exception_formatter=structlog.dev.plain_traceback,
                ),
            ]
        else:
            end = [
                structlog.processors.format_exc_info,
                drop_internals,
                structlog.processors.JSONRenderer(serializer=dumps),
            ]
        super().__init__(processors=end, foreign_pre_chain=SHARED)

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
