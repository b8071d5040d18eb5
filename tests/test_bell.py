"""An idle pod hears of a job at once, not when it looks by itself (every five seconds)."""

import statistics
import time

from tests.api.caller import Caller
from tests.system import System

# Without bells two of them take five seconds: the pod looks every five, and housekeeping too.
CALLS = 6
# A pod that has ended a job looks for another one; then it listens.
REST_S = 0.5


def test_an_idle_pod_hears_at_once(system: System) -> None:
    caller = Caller(system.base_url, system.account("listener@example.com", "1"))
    assert caller.chat("hello", max_tokens=1).status_code == 200
    waits = []
    for _ in range(CALLS):
        time.sleep(REST_S)
        began = time.monotonic()
        assert caller.chat("hello", max_tokens=1).status_code == 200
        waits.append(time.monotonic() - began)
    assert statistics.mean(waits) < 1.5
