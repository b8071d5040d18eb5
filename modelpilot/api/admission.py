"""Turning requests away before they cost anything, when there is more to do than can be done.

Each request that is open takes memory, and a share of the same cores: past a number of them,
new ones would only make all of them late. So they are told at once when to come again.
"""

import random
import time

from django.conf import settings

from modelpilot import hop
from modelpilot.errors import ApiError

# Asked by machines that must hear the truth, whatever else waits.
PROBES = ("/healthz", "/readyz", "/metrics")
# Not all at the same moment.
RETRY_S = (2, 8)
# A process that turned somebody away is not ready for this long.
REMEMBERED_S = 5.0


class Admission:
    """How many requests this process has open."""

    def __init__(self) -> None:
        self.open = 0

    def admits(self, path: str) -> bool:
        return self.open < settings.REQUESTS_AT_ONCE or path in PROBES

    def overloaded(self) -> bool:
        """Whether new requests are turned away now."""
        late = time.monotonic() - hop.Lateness.at < REMEMBERED_S
        return late or self.open >= settings.REQUESTS_AT_ONCE


admission = Admission()


def overloaded() -> ApiError:
    return ApiError(
        503,
        "overloaded",
        "There is more to do than this server can do at once. Nothing was started or charged; "
        "send the request again after the seconds in Retry-After.",
        type="server_error",
        headers={"Retry-After": str(random.randint(*RETRY_S))},
    )
