"""What is kept of a request once it is over: one line, and its part in the counters."""

from typing import Any

from modelpilot import logs
from modelpilot.jobs import counters

log = logs.logger("modelpilot.request")

# What nginx writes for a client that left before there was an answer.
CLIENT_GONE = 499
# Asked every few seconds by machines: a line of each that went well would bury the others.
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
PROBES = ("healthz", "readyz", "metrics")


@logs.harmless
def record(scope: dict[str, Any], status: int | None, complete: bool, seconds: float) -> None:
    """No body, no query and no headers: they hold prompts, signatures and keys."""
    route = scope.get("modelpilot.route")
    status = status or CLIENT_GONE
    # Anybody can invent methods, and each would be a counter for ever.
    method = scope["method"] if scope["method"] in METHODS else "OTHER"
    fields: dict[str, Any] = {
        "method": method,
        "route": "unknown" if route is None else f"/{route}",
        "status": status,
        "ms": round(seconds * 1000, 1),
    }
    if route is None:
        fields["path"] = scope["path"][:200]
    if not complete:
        fields["client_left"] = True
    principal = scope.get("modelpilot.principal")
    if principal is not None:
        fields["account"] = principal.user_id
        fields["key"] = principal.key_id
    level = log.debug if route in PROBES and status < 400 else log.info
    level("request", **fields)
    counters.observe(counters.REQUESTS, method, fields["route"], status, seconds=seconds)
