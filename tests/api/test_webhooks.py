"""Webhooks over HTTP: named in a request or set up for the account, and only for it."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.receiver import Receiver, receiver

# Housekeeping looks every three seconds.
SOON_S = 20


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as mine:
        yield mine


@pytest.fixture
def dora(newcomer: NewCaller) -> Caller:
    """Somebody without any webhooks yet."""
    return newcomer()


def test_a_chat_tells_its_webhook(dora: Caller, hook: Receiver) -> None:
    assert dora.chat("hello", webhook=hook.url).status_code == 200

    [message] = hook.wait_for(1, SOON_S)
    secret = dora.get("webhooks/secret").json()["secret"]
    payload = message.verified(secret)
    assert payload["type"] == "job.succeeded"
    job = dora.newest_job()
    assert payload["data"] == job
    assert "webhook" not in job["request"]

    [delivery] = dora.get("webhooks/deliveries", params={"job": job["id"]}).json()["data"]
    assert delivery["id"] == message.id
    assert (delivery["webhook"], delivery["url"]) == (None, hook.url)
    assert dora.get("webhooks/deliveries", params={"job": "nonsense"}).json()["data"] == []


@pytest.mark.parametrize(
    ("route", "words"), [("generate/audio", "text"), ("audio/speech", "input")]
)
def test_speech_tells_its_webhook(dora: Caller, hook: Receiver, route: str, words: str) -> None:
    body = {"model": "piper-joe", words: "Hello.", "webhook": hook.url}
    assert dora.post(route, body).status_code == 200

    [message] = hook.wait_for(1, SOON_S)
    data = message.verified(dora.get("webhooks/secret").json()["secret"])["data"]
    assert data["kind"] == "audio"
    [output] = data["outputs"]
    link = urlsplit(output["url"])
    sound = dora.get(f"{link.path}?{link.query}")
    assert (sound.status_code, len(sound.content)) == (200, output["bytes"])


def test_an_endpoint_hears_of_every_job(dora: Caller, hook: Receiver) -> None:
    made = dora.post("webhooks", {"url": hook.url})
    assert made.status_code == 201, made.text
    endpoint = made.json()
    assert endpoint["secret"].startswith("whsec_")
    listed = dora.get("webhooks").json()["data"]
    assert [each["id"] for each in listed] == [endpoint["id"]]
    assert "secret" not in listed[0]
    assert dora.get(f"webhooks/{endpoint['id']}").json() == endpoint

    dora.chat("one")
    hook.wait_for(1, SOON_S)[0].verified(endpoint["secret"])

    rotated = dora.post(f"webhooks/{endpoint['id']}/rotate").json()
    assert rotated["secret"] != endpoint["secret"]
    assert rotated["previous_secret_until"] > rotated["created_at"]
    path = f"webhooks/{endpoint['id']}/deliveries"
    [delivery] = dora.get(path).json()["data"]
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)
    assert [entry["status"] for entry in delivery["log"]] == [200]

    again = dora.post(f"webhooks/deliveries/{delivery['id']}/redeliver")
    assert (again.status_code, again.json()["state"]) == (202, "pending")
    messages = hook.wait_for(2, SOON_S)
    assert messages[1].id == messages[0].id == delivery["id"]
    messages[1].verified(endpoint["secret"])
    messages[1].verified(rotated["secret"])

    assert dora.send("DELETE", f"webhooks/{endpoint['id']}").status_code == 204
    error_of(dora.get(f"webhooks/{endpoint['id']}"), 404, "webhook_not_found")
    error_of(dora.post(f"webhooks/deliveries/{delivery['id']}/redeliver"), 409, "webhook_disabled")
    dora.chat("two")
    assert dora.get("webhooks").json()["data"] == []
    assert len(dora.get("webhooks/deliveries").json()["data"]) == 1


def test_an_endpoint_that_is_gone_is_disabled(dora: Caller, hook: Receiver) -> None:
    hook.answers = [410]
    endpoint = dora.post("webhooks", {"url": hook.url}).json()
    dora.chat("one")
    hook.wait_for(1, SOON_S)
    path = f"webhooks/{endpoint['id']}"
    deadline = time.monotonic() + SOON_S
    while dora.get(path).json()["enabled"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert dora.get(path).json()["disabled_reason"] == "It answered 410 Gone."
    [delivery] = dora.get(f"{path}/deliveries").json()["data"]
    assert (delivery["state"], delivery["last_status"]) == ("failed", 410)

    dora.chat("two")
    assert len(dora.get(f"{path}/deliveries").json()["data"]) == 1

    enabled = dora.send("PATCH", path, json={"enabled": True}).json()
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)
    dora.chat("three")
    hook.wait_for(2, SOON_S)


def test_pages_of_deliveries(dora: Caller, hook: Receiver) -> None:
    for number in range(3):
        dora.chat(str(number), webhook=hook.url)

    first = dora.get("webhooks/deliveries", params={"limit": 2}).json()
    last = first["data"][-1]["id"]
    second = dora.get("webhooks/deliveries", params={"limit": 2, "after": last}).json()

    assert (first["has_more"], second["has_more"]) == (True, False)
    jobs = [delivery["job"] for delivery in first["data"] + second["data"]]
    assert jobs == [job["id"] for job in dora.get("jobs").json()["data"]]
    error_of(dora.get("webhooks/deliveries", params={"after": "msg_x"}), 404, "delivery_not_found")


def test_addresses_that_lead_inside_are_refused(dora: Caller) -> None:
    before = dora.available()
    for url in ("https://169.254.169.254/", "http://example.com/", "https://localhost/", "x", ""):
        error = error_of(dora.post("webhooks", {"url": url}), 422, "invalid_value")
        assert error["param"] == "url"
        error = error_of(dora.chat("hello", webhook=url), 422, "invalid_value")
        assert error["param"] == "webhook"
    speech = {"model": "piper-joe", "text": "hello", "webhook": "https://[::1]/"}
    assert error_of(dora.post("generate/audio", speech), 422, "invalid_value")["param"] == "webhook"
    assert dora.available() == before


def test_an_account_has_ten_at_most(dora: Caller) -> None:
    for number in range(10):
        assert dora.post("webhooks", {"url": f"https://example.com/{number}"}).status_code == 201

    error_of(dora.post("webhooks", {"url": "https://example.com/more"}), 409, "too_many_webhooks")


def test_the_permission_read_is_needed(newcomer: NewCaller, hook: Receiver) -> None:
    caller = newcomer(permissions="proxy,generate")

    error_of(caller.get("webhooks"), 403, "permission_denied")
    error_of(caller.post("webhooks", {"url": hook.url}), 403, "permission_denied")
    error_of(caller.get("webhooks/secret"), 403, "permission_denied")
