"""A hundred requests a minute for each client address, counted apart from polling."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
import requests

from tests.api.caller import Caller, error_of
from tests.system import product

CALLS = "models"
POLLS = "jobs"


@pytest.fixture(scope="module")
def limited() -> Iterator[Caller]:
    with product(
        MODELPILOT_RATE_LIMIT="100/minute",
        MODELPILOT_POLL_RATE_LIMIT="600/minute",
        TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8",
    ) as system:
        system.start()
        yield Caller(system.base_url, system.account("alice@example.com", "1"))


@pytest.fixture(autouse=True)
def no_turn_of_the_minute() -> None:
    """The window slides, so a count over the turn of a minute is not exact."""
    if (second := time.time() % 60) > 45:
        time.sleep(60.5 - second)


def sent(caller: Caller, count: int, forwarded: str, path: str = CALLS) -> list[requests.Response]:
    return [caller.get(path, headers={"X-Forwarded-For": forwarded}) for _ in range(count)]


def test_the_hundred_and_first_is_429(limited: Caller) -> None:
    answers = sent(limited, 120, "203.0.113.1")
    assert [answer.status_code for answer in answers] == [200] * 100 + [429] * 20
    error = error_of(answers[-1], 429, "rate_limit_exceeded")
    assert error["type"] == "rate_limit_error"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 120
    assert sent(limited, 1, "203.0.113.2")[0].status_code == 200
    polled = sent(limited, 1, "203.0.113.1", POLLS)[0]
    assert polled.status_code == 200
    assert polled.headers["RateLimit-Policy"] == '"polling";q=600;w=60'


def test_every_answer_says_how_much_is_left(limited: Caller) -> None:
    first, second = sent(limited, 2, "203.0.113.3")
    assert first.headers["RateLimit-Policy"] == '"default";q=100;w=60'
    assert first.headers["RateLimit"].startswith('"default";r=99;t=')
    assert second.headers["RateLimit"].startswith('"default";r=98;t=')
    assert second.headers["x-ratelimit-limit-requests"] == "100"
    assert second.headers["x-ratelimit-remaining-requests"] == "98"
    assert second.headers["x-ratelimit-reset-requests"].endswith("s")
    refused = limited.get("nothing", headers={"X-Forwarded-For": "203.0.113.3"})
    assert refused.status_code == 404


def test_refused_requests_count_too(limited: Caller) -> None:
    stranger = Caller(limited.base_url, "junk")
    answers = sent(stranger, 100, "203.0.113.4")
    assert {answer.status_code for answer in answers} == {401}
    assert sent(limited, 1, "203.0.113.4")[0].status_code == 429


def made_up(caller: Caller, peer: str, number: int) -> dict[str, str]:
    told = f"198.51.{number // 256}.{number % 256}"
    return {
        "Authorization": f"Bearer {caller.key}",
        "X-Forwarded-For": f"{told}, 203.0.113.5, 10.1.2.3" if peer == "127.0.0.1" else told,
        "X-Real-IP": told,
        "Forwarded": f"for={told}",
        "True-Client-IP": told,
    }


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.2"])
def test_a_spoofed_address_does_not_help(
    limited: Caller, peer: str, record_property: Callable[[str, object], None]
) -> None:
    """From a trusted proxy all but the last address is the client's own word, from anybody else
    all of it."""
    statuses: Counter[int] = Counter()
    started = time.time()
    netloc = urlsplit(limited.base_url).netloc
    with closing(HTTPConnection(netloc, timeout=60, source_address=(peer, 0))) as wire:
        for number in range(1000):
            wire.request("GET", f"/api/v1/{CALLS}", headers=made_up(limited, peer, number))
            answer = wire.getresponse()
            answer.read()
            statuses[answer.status] += 1
    # On a machine that takes a minute for it, the next minute's hundred may be among them.
    turns = int(time.time() // 60 - started // 60)
    assert statuses.keys() == {200, 429}
    assert 100 <= statuses[200] <= 100 * (1 + turns)
    whence = "through a trusted proxy" if peer == "127.0.0.1" else "from anybody else"
    record_property(
        "reached",
        f"{whence} {statuses[200]} of {statuses.total():,} calls with made-up addresses answered",
    )


def test_a_whole_ipv6_network_is_one_client(limited: Caller) -> None:
    statuses = Counter(
        sent(limited, 1, f"2001:db8:1:2:{number:x}::1")[0].status_code for number in range(110)
    )
    assert statuses == {200: 100, 429: 10}
    assert sent(limited, 1, "2001:db8:1:3::1")[0].status_code == 200


def test_health_and_outputs_are_not_limited(limited: Caller) -> None:
    sent(limited, 100, "203.0.113.6")
    here = {"X-Forwarded-For": "203.0.113.6"}
    assert limited.get(CALLS, headers=here).status_code == 429
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/outputs/x", 404)):
        assert limited.get(path, headers=here).status_code == status
