"""Addresses that customers name are called by webhooks alone, and never inside.

`tests/jobs/test_outbound.py` has the corpus and the rebinding resolver; here they are set up in
every place there is, and all other fields are shown to call nobody.
"""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from pydantic import ValidationError

from modelpilot.api.schemas import WebhookBody
from modelpilot.dashboard.webhooks import EndpointForm
from tests.jobs.test_outbound import INSIDE
from tests.security.conftest import Cast, by_key, by_session
from tests.security.test_bodies import MINIMAL, bodies, described
from tests.system import System

__all__ = ["described"]
# What holds a file: whoever has money for what it is of sends an address there, too.
FILES = ("image", "mask", "file", "audio_prompt", "input_reference", "webhook")


def test_the_corpus_can_not_be_set_up(record_property: Callable[[str, object], None]) -> None:
    taken = []
    for url in INSIDE:
        spelled = url.replace("PORT", "8443")
        form = EndpointForm({"url": spelled})
        try:
            WebhookBody(url=spelled)
        except ValidationError:
            if not form.is_valid():
                continue
        taken.append(spelled)
    assert taken == []
    record_property("reached", f"0 of {len(INSIDE)} addresses taken by API and page")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.setblocking(False)
        yield server


def test_no_field_calls_anybody(
    system: System,
    cast: Cast,
    described: dict[str, object],
    listener: socket.socket,
    record_property: Callable[[str, object], None],
) -> None:
    """Pictures, sounds and what else may be given as an address elsewhere: we don't fetch it."""
    port = listener.getsockname()[1]
    alice, charlie = by_key(system, cast.alice), by_session(system, cast.charlie)
    count = 0
    for method, path, schema in bodies(described):
        short = path.removeprefix("/api/v1/")
        if "{" in short:
            continue
        fields = [*schema["properties"], "url", "image_url", "file_url", "callback", "endpoint"]
        for field in fields:
            for address in (f"http://127.0.0.2:{port}/x", f"http://[::ffff:127.0.0.2]:{port}/x"):
                body = {**MINIMAL.get(short, {}), field: address}
                for visitor in (alice, charlie) if field in FILES else (charlie,):
                    answer = visitor.send(method, path, json=body, headers={"Prefer": "wait=0"})
                    assert answer.status_code < 500
                    count += 1
    parts = [
        {"type": kind, kind: {"url": f"http://127.0.0.2:{port}/x"}}
        for kind in ("image_url", "input_audio", "file", "video_url")
    ]
    chat = {"model": "echo", "messages": [{"role": "user", "content": parts}]}
    assert alice.send("POST", "/api/v1/chat/completions", json=chat).status_code == 400
    time.sleep(2)
    with pytest.raises(BlockingIOError):
        listener.accept()
    record_property("reached", f"{count} requests with an address in some field called nobody")


@pytest.mark.parametrize("how", ["page", "api"])
def test_an_endpoint_inside_is_refused_where_it_is_set_up(
    system: System, cast: Cast, how: str
) -> None:
    for url in (
        "https://169.254.169.254/",
        "https://[::1]/",
        "https://2130706433/",
        "http://10.0.0.1/",
    ):
        if how == "page":
            answer = by_session(system, cast.alice).send(
                "POST", "/dashboard/webhooks/", data={"url": url}
            )
            assert "The URL" in answer.text
        else:
            answer = by_key(system, cast.alice).send("POST", "/api/v1/webhooks", json={"url": url})
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, "url")
    listed = by_key(system, cast.alice).get("/api/v1/webhooks").json()["data"]
    assert len(listed) == 1, "the one that she had"
