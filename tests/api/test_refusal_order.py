"""401, 403, 413, 422, kind, 404, 503, 402: the first reason in this order is the one told."""

from typing import Any

import pytest

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.system import System

CHAT = "chat/completions"
HUGE = b" " * (10 * 1024 * 1024 + 1)
WRONG: dict[str, Any] = {"model": "nothing", "messages": []}


@pytest.fixture(scope="module")
def nobody(system: System) -> Caller:
    return Caller(system.base_url, "mp_live_nothing")


@pytest.fixture(scope="module")
def reader(newcomer: NewCaller) -> Caller:
    return newcomer(permissions="read")


@pytest.fixture(scope="module")
def poor(newcomer: NewCaller) -> Caller:
    return newcomer("0")


def test_401_comes_before_413(nobody: Caller) -> None:
    error_of(nobody.send("POST", CHAT, data=HUGE), 401, "invalid_api_key")


def test_403_comes_before_413(reader: Caller) -> None:
    error_of(reader.send("POST", CHAT, data=HUGE), 403, "permission_denied")


def test_403_comes_before_422(reader: Caller) -> None:
    error = error_of(reader.post(CHAT, WRONG), 403, "permission_denied")
    assert "'proxy'" in error["message"]
    assert "'read'" not in error["message"]


def test_413_comes_before_422(alice: Caller) -> None:
    error_of(alice.send("POST", CHAT, data=HUGE), 413, "request_too_large")


def test_422_comes_before_404(alice: Caller) -> None:
    error_of(alice.post(CHAT, WRONG), 422, "invalid_value")


def test_the_kind_comes_before_404(alice: Caller) -> None:
    error_of(alice.chat("hello", "flux-dev"), 400, "invalid_model_type")


def test_404_comes_before_402(poor: Caller) -> None:
    error_of(poor.chat("hello", "qwen3-8b"), 404, "model_not_found")


def test_402_comes_last(poor: Caller) -> None:
    error_of(poor.chat("hello"), 402, "insufficient_quota")
