"""POST /quote says what a request would cost, and max_cost holds us to it."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from inference.sound import audio
from inference.types import request_from
from modelpilot.api.quote import ROUTES
from modelpilot.api.routes import api
from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}


def base64_png() -> str:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def base64_wav() -> str:
    return base64.b64encode(audio.encode(bytes(32_000), 16_000, "wav")).decode()


BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": CHAT,
    "completions": {"model": "echo", "prompt": "hello"},
    "generate/audio": {"model": "kokoro", "text": "Hello."},
    "audio/speech": {"model": "piper-joe", "input": "Hello."},
    "embeddings": {"model": "all-minilm-l6-v2", "input": "Hello."},
    "audio/transcriptions": {"model": "pocketsphinx", "file": base64_wav()},
    "generate/image": {"model": "tiny-sdxl", "prompt": "an apple"},
    "images/generations": {"model": "tiny-sdxl", "prompt": "an apple", "output_format": "webp"},
    "images/edits": {"model": "tiny-sdxl", "prompt": "an apple", "image": base64_png()},
    "generate/video": {"model": "tiny-wan", "prompt": "an apple"},
    "videos": {"model": "tiny-wan", "prompt": "an apple"},
}
# This process knows the built-in cards only.
IN_OUR_CATALOG = {"tiny-sdxl": "sdxl", "tiny-wan": "wan-t2v"}
# A run of each costs seconds.
QUICK = (
    "chat/completions",
    "completions",
    "generate/audio",
    "audio/speech",
    "embeddings",
    "audio/transcriptions",
)


def quoted(caller: Caller, route: str, body: dict[str, Any]) -> dict[str, Any]:
    response = caller.post("quote", {"route": route, "body": body})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("route", QUICK)
def test_a_quote_is_what_is_charged(newcomer: NewCaller, route: str) -> None:
    dora = newcomer()
    quote = quoted(dora, route, BODIES[route])
    assert quote.keys() == {"model", "max_cost", "currency"}
    assert (quote["model"], quote["currency"]) == (BODIES[route]["model"], "USD")
    assert dora.available() == 1
    assert dora.get("jobs").json()["data"] == []

    response = dora.post(route, {**BODIES[route], "max_cost": quote["max_cost"]})

    assert response.status_code == 200, response.text
    assert dora.available() == 1 - quote["max_cost"]


@pytest.mark.parametrize("route", BODIES)
def test_what_costs_more_than_max_cost_is_refused(newcomer: NewCaller, route: str) -> None:
    dora = newcomer()
    quote = quoted(dora, route, BODIES[route])["max_cost"]
    for max_cost in (0, quote - 0.000001):
        refused = dora.post(route, {**BODIES[route], "max_cost": max_cost})
        error = error_of(refused, 402, "max_cost_exceeded")
        assert (error["required"], error["max_cost"]) == (quote, max_cost)
        assert error["param"] == "max_cost"
    assert (dora.available(), dora.get("jobs").json()["data"]) == (1, [])


@pytest.mark.parametrize("route", BODIES)
@pytest.mark.parametrize("max_cost", ["-0.001", "1e999", "NaN", "true", '"much"'])
def test_a_senseless_max_cost_is_refused(alice: Caller, route: str, max_cost: str) -> None:
    body = str({**BODIES[route], "max_cost": "?"}).replace("'", '"').replace('"?"', max_cost)
    refused = alice.send("POST", route, data=body, headers={"Content-Type": "application/json"})
    if max_cost in ("NaN", "1e999"):  # no JSON, to begin with
        assert refused.status_code in (400, 422)
    else:
        assert error_of(refused, 422, "invalid_value")["param"] == "max_cost"


@pytest.mark.parametrize("route", BODIES)
def test_max_cost_is_no_part_of_the_request(route: str) -> None:
    schema, kind = ROUTES[route]
    model = IN_OUR_CATALOG.get(BODIES[route]["model"], BODIES[route]["model"])
    request = schema.model_validate({**BODIES[route], "model": model, "max_cost": 1}).request()
    assert "max_cost" not in request
    request_from(kind, request)  # an engine's, and nothing more


def test_answers_are_paid_by_the_piece(alice: Caller) -> None:
    for route in ("chat/completions", "/v1/chat/completions", "/api/v1/chat/completions"):
        assert quoted(alice, route, {**CHAT, "n": 3})["max_cost"] == 0.003
    error_of(
        alice.post("chat/completions", {**CHAT, "n": 3, "max_cost": 0.002}),
        402,
        "max_cost_exceeded",
    )


def test_a_stream_is_refused_before_it_begins(alice: Caller) -> None:
    body = {**CHAT, "stream": True, "max_cost": 0}
    error_of(alice.post("chat/completions", body), 402, "max_cost_exceeded")


def test_the_poor_are_quoted_too(newcomer: NewCaller) -> None:
    assert quoted(newcomer("0"), "chat/completions", CHAT)["max_cost"] == 0.001


def test_a_replay_may_have_a_max_cost(newcomer: NewCaller) -> None:
    dora = newcomer()
    job = dora.chat("hello", n=2).json()["x_modelpilot"]["job_id"]
    refused = dora.post(f"jobs/{job}/replay", {"max_cost": 0.001})
    assert error_of(refused, 402, "max_cost_exceeded")["required"] == 0.002
    for body in ({"max_cost": 0.002}, {}, None):
        again = dora.post(f"jobs/{job}/replay", body)
        assert again.status_code == 202, again.text
    error_of(dora.post(f"jobs/{job}/replay", {"max_price": 1}), 422, "unknown_parameter")


@pytest.mark.parametrize(
    ("quote", "status", "code", "param"),
    [
        ({"route": "models", "body": {}}, 422, "invalid_value", "route"),
        ({"route": "chat/completions"}, 422, "missing_required_parameter", "body"),
        ({"route": "chat/completions", "body": []}, 422, "invalid_value", "body"),
        ({"body": CHAT}, 422, "missing_required_parameter", "route"),
        ({"route": "chat/completions", "body": CHAT, "n": 2}, 422, "unknown_parameter", "n"),
        (
            {"route": "chat/completions", "body": {**CHAT, "n": 5}},
            422,
            "invalid_value",
            "body.n",
        ),
        (
            {"route": "chat/completions", "body": {**CHAT, "functions": [1]}},
            400,
            "unsupported_parameter",
            "functions",
        ),
        (
            {"route": "generate/audio", "body": {"model": "kokoro", "text": "a", "sped": 1}},
            422,
            "unknown_parameter",
            "body.sped",
        ),
        (
            {"route": "generate/audio", "body": {"model": "echo", "text": "a"}},
            400,
            "invalid_model_type",
            "model",
        ),
        (
            {"route": "chat/completions", "body": {**CHAT, "model": "nothing"}},
            404,
            "model_not_found",
            "model",
        ),
    ],
)
def test_what_the_route_would_refuse_is_refused(
    alice: Caller, quote: dict[str, Any], status: int, code: str, param: str
) -> None:
    assert error_of(alice.post("quote", quote), status, code)["param"] == param


def test_every_paid_route_can_be_quoted() -> None:
    """Whoever adds a route that takes money adds its quote."""
    schema = api.get_openapi_schema()
    posts = {
        path.removeprefix("/api/v1/"): methods["post"]
        for path, methods in schema["paths"].items()
        if "post" in methods
    }
    paid = {route for route, post in posts.items() if "max_cost" in properties(schema, post)}
    assert paid - {"jobs/{job_id}/replay"} == ROUTES.keys() == BODIES.keys()


def properties(schema: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The properties of an operation's JSON body."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    found = body.get("schema", {})
    # Ninja refers to it, or to it as one of several.
    for option in (found, *found.get("anyOf", ())):
        name = option.get("$ref", "").rpartition("/")[2]
        found = schema["components"]["schemas"].get(name, found)
    named: dict[str, Any] = found.get("properties", {})
    return named
