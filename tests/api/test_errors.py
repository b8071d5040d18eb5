"""Every refusal: its status, its code, in the one envelope, before any money moves."""

import http.client
import json
import re
from typing import Any

import pytest

from tests.api.caller import Caller, error_of
from tests.system import System

CHAT = "chat/completions"
HELLO = [{"role": "user", "content": "hello"}]
ECHO: dict[str, Any] = {"model": "echo", "messages": HELLO}
SPEECH: dict[str, Any] = {"model": "piper-joe", "text": "Hello."}
JUNK = [
    "",
    "Bearer",
    "Bearer junk",
    "Bearer mp_live_" + "a" * 36,
    "Bearer mp_live_" + "é" * 36,
    "Basic YTpi",
    "mp_live_x",
]


def test_the_balance_is_the_same_after_all_refusals(alice: Caller) -> None:
    """Runs first, so that nothing is held; the others prove that they don't charge by it."""
    assert alice.held() == 0


@pytest.mark.parametrize("header", JUNK)
def test_a_wrong_key_is_401(system: System, header: str) -> None:
    for path in (CHAT, "generate/audio", "models", "balance", "jobs"):
        caller = Caller(system.base_url, "")
        method = "POST" if path in (CHAT, "generate/audio") else "GET"
        headers = {"Authorization": header.encode()}
        error = error_of(caller.send(method, path, headers=headers), 401, "invalid_api_key")
        assert error["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/nothing"),
        ("POST", "/v1/nothing"),
        ("GET", "/api/nothing"),
        ("GET", "/api/v1/"),
        ("GET", "/outputs/nothing"),
    ],
)
def test_an_unknown_route_is_404(alice: Caller, method: str, path: str) -> None:
    error_of(alice.send(method, path), 404, "not_found")


@pytest.mark.parametrize("path", [CHAT, "generate/audio", "audio/speech"])
def test_a_wrong_method_is_405(alice: Caller, path: str) -> None:
    response = alice.send("DELETE", path)
    error_of(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"


def test_an_unknown_model_is_404_and_says_which_there_are(alice: Caller) -> None:
    response = alice.post(CHAT, {**ECHO, "model": "qwen3-8b"})
    error = error_of(response, 404, "model_not_found")
    assert error["message"] == "No active deployment found for model 'qwen3-8b'"
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert {"echo", "smollm2-135m"} <= set(error["available_models"])
    assert "kokoro" not in error["available_models"]
    assert response.json()["available_models"] == error["available_models"]


@pytest.mark.parametrize(
    ("model", "what"), [("kokoro", "deployed"), ("flux-dev", "not deployed"), ("sdxl", "neither")]
)
def test_a_model_of_another_kind_is_400(alice: Caller, model: str, what: str) -> None:
    error = error_of(alice.post(CHAT, {**ECHO, "model": model}), 400, "invalid_model_type")
    assert error["message"] == (
        f"Model '{model}' is not a text model and cannot be used with chat completions"
    )
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")


@pytest.mark.parametrize("path", ["generate/audio", "audio/speech"])
def test_a_text_model_does_not_speak(alice: Caller, path: str) -> None:
    body = {"model": "echo", "text" if path == "generate/audio" else "input": "Hello."}
    error_of(alice.post(path, body), 400, "invalid_model_type")


@pytest.mark.parametrize(
    ("field", "value", "bound"),
    [
        ("temperature", 3, "2"),
        ("temperature", -1, "0"),
        ("temperature", "hot", "number"),
        ("temperature", True, "number"),
        ("top_p", 1.5, "1"),
        ("n", 5, "4"),
        ("n", 0, "1"),
        ("max_tokens", 0, "1"),
        ("max_tokens", 10**30, "1000000"),
        ("seed", 2**64, "9223372036854775807"),
        ("presence_penalty", 2.1, "2"),
        ("messages", [], "at least 1 item"),
        ("messages", "hello", "list"),
        ("stop", ["a", "b", "c", "d", "e"], "4"),
        ("stop", 1, "list"),
        ("stop", "", "at least 1 character"),
        ("model", "", "1"),
        ("model", 5, "text"),
        ("stream", "perhaps", "true or false"),
        ("response_format", "json", "object"),
    ],
)
def test_a_value_out_of_bounds_is_422_and_says_which(
    alice: Caller, field: str, value: Any, bound: str
) -> None:
    error = error_of(alice.post(CHAT, {**ECHO, field: value}), 422, "invalid_value")
    assert error["param"].split(".")[0] == field
    assert f"'{error['param']}'" in error["message"]
    assert bound in error["message"]


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "king", "content": "obey"}, "messages.1.role"),
        ({"role": "user", "content": 5}, "messages.1.content"),
        ({"role": "user", "content": [{"type": "song"}]}, "messages.1.content.0"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "messages.1.content.0.text"),
        ({"role": "user"}, "messages.1"),
        ({"role": "tool", "content": "21 degrees"}, "messages.1"),
        ({"role": "user", "content": "a", "tool_calls": [CALL]}, "messages.1"),
        ({"role": "tool", "content": "21 degrees", "tool_call_id": "c9"}, "messages"),
    ],
)
def test_a_wrong_message_is_named_by_its_place(
    alice: Caller, message: dict[str, Any], param: str
) -> None:
    body = {**ECHO, "messages": [*HELLO, message]}
    assert error_of(alice.post(CHAT, body), 422, "invalid_value")["param"] == param


@pytest.mark.parametrize(
    ("kind", "said"), [("image_url", "images"), ("input_audio", "audio"), ("file", "files")]
)
def test_content_that_is_no_text_is_400(alice: Caller, kind: str, said: str) -> None:
    content = [{"type": "text", "text": "What is this?"}, {"type": kind, kind: {"url": "data:"}}]
    body = {**ECHO, "messages": [*HELLO, {"role": "user", "content": content}]}
    error = error_of(alice.post(CHAT, body), 400, "unsupported_content")
    assert error["param"] == "messages.1.content.1"
    assert f"takes no {said}" in error["message"]


TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [{"type": "custom"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "always", "tools": [TOOL]}, "tool_choice"),
        ({"tool_choice": {"type": "song"}, "tools": [TOOL]}, "tool_choice"),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [{"type": "function", "function": {"name": "g"}}],
                    },
                },
                "tools": [TOOL],
            },
            "tool_choice",
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": [TOOL]},
            "tool_choice",
        ),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
        ({"logit_bias": {"hello": 1}}, "logit_bias.hello"),
        ({"logit_bias": {"-1": 1}}, "logit_bias.-1"),
        ({"logit_bias": {"50": 101}}, "logit_bias.50"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"metadata": {"a": {"b": 1}}}, "metadata"),
    ],
)
def test_what_makes_no_sense_is_422(alice: Caller, fields: dict[str, Any], param: str) -> None:
    error = error_of(alice.post(CHAT, {**ECHO, **fields}), 422, "invalid_value")
    assert error["param"].startswith(param)
    # In our words, not in those of the library that checks.
    assert not re.search(r"\[|Input|validation|pattern|instance", error["message"])


def test_a_message_says_what_the_guide_says(alice: Caller) -> None:
    error = error_of(alice.post(CHAT, {**ECHO, "max_tokens": 0}), 422, "invalid_value")
    assert error["message"] == "'max_tokens' must be at least 1."


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field_is_422(alice: Caller, field: str) -> None:
    body = {name: value for name, value in ECHO.items() if name != field}
    error = error_of(alice.post(CHAT, body), 422, "missing_required_parameter")
    assert error["param"] == field


@pytest.mark.parametrize(
    ("field", "value", "bound"),
    [
        ("text", "a" * 5001, "5000"),
        ("text", "", "empty"),
        ("text", "  \n ", "empty"),
        ("speed", 3, "2"),
        ("speed", 0.4, "0.5"),
    ],
)
def test_speech_has_bounds_too(alice: Caller, field: str, value: Any, bound: str) -> None:
    error = error_of(alice.post("generate/audio", {**SPEECH, field: value}), 422, "invalid_value")
    assert error["param"] == field
    assert bound in error["message"]


def test_openais_speech_has_the_same_bounds(alice: Caller) -> None:
    body = {"model": "piper-joe", "input": "a" * 5001, "voice": "alloy"}
    assert error_of(alice.post("audio/speech", body), 422, "invalid_value")["param"] == "input"


def test_a_typo_on_a_native_route_is_422(alice: Caller) -> None:
    response = alice.post("generate/audio", {**SPEECH, "sped": 1.5})
    assert error_of(response, 422, "unknown_parameter")["param"] == "sped"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("store", True),
        ("service_tier", "priority"),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "mp3"}),
        ("prediction", {"type": "content", "content": "a"}),
        ("verbosity", "low"),
        ("web_search_options", {}),
    ],
)
def test_what_openai_has_and_we_lack_is_400(alice: Caller, field: str, value: Any) -> None:
    error = error_of(alice.post(CHAT, {**ECHO, field: value}), 400, "unsupported_parameter")
    assert error["param"] == field


def test_what_changes_nothing_is_taken(alice: Caller) -> None:
    extras = {
        "metadata": {"a": "b"},
        "user": "somebody",
        "parallel_tool_calls": True,
        "made_up": {"deep": [1]},
        "logprobs": False,
        "tools": [],
        "tool_choice": "none",
        "functions": [],
        "store": False,
        "service_tier": "auto",
        "modalities": ["text"],
        "verbosity": "medium",
        "reasoning_effort": "low",
        "prediction": None,
        "top_p": 0,
        "max_completion_tokens": 1,
        "stream_options": None,
    }
    assert alice.post(CHAT, {**ECHO, "max_tokens": 1, **extras}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"model": "echo", "messages": [], "temperature": NaN}',
        b'{"model": "echo", "messages": [], "temperature": Infinity}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        json.dumps({**ECHO, "user": "a\0b"}).encode(),
        json.dumps({**ECHO, "messages": [{"role": "user", "content": "\0"}]}).encode(),
    ],
    ids=["cut", "no UTF-8", "NaN", "Infinity", "deep", "NUL", "NUL inside"],
)
def test_what_is_no_json_is_400(alice: Caller, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    error_of(alice.send("POST", CHAT, data=body, headers=headers), 400, "invalid_json")


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b'"text"', b"null"])
def test_json_that_is_no_object_is_422(alice: Caller, body: bytes) -> None:
    response = alice.send("POST", CHAT, data=body)
    assert response.status_code == 422, response.text
    error_of(response, 422, response.json()["error"]["code"])


def test_a_prompt_that_is_too_long_is_400_and_free(alice: Caller) -> None:
    alice.chat("a", "smollm2-short", max_tokens=1)  # it is loaded
    before = alice.available()
    response = alice.chat("word " * 1001, "echo-one")
    error = error_of(response, 400, "context_length_exceeded")
    assert error["param"] == "messages"
    assert "1000 tokens" in error["message"]
    response = alice.chat("word " * 400, "smollm2-short")
    error = error_of(response, 400, "context_length_exceeded")
    assert re.search(r"has 4\d\d tokens.* context is 256 tokens", error["message"])
    # Before the stream begins.
    with alice.stream("word " * 400, "smollm2-short") as lines:
        error_of(lines.response, 400, "context_length_exceeded")
    assert alice.available() == before


def test_an_unknown_voice_is_422_and_free(alice: Caller) -> None:
    before = alice.available()
    for path, field in (("generate/audio", "text"), ("audio/speech", "input")):
        body = {"model": "piper-joe", field: "Hello.", "voice": "nobody"}
        error = error_of(alice.post(path, body), 422, "invalid_value")
        assert error["param"] == "voice"
        assert "joe" in error["message"]
    assert alice.available() == before


def test_a_500_says_nothing_of_its_cause(alice: Caller) -> None:
    before = alice.available()
    error = error_of(alice.chat("[error]", "echo-slow"), 500, "generation_failed")
    assert "asked to fail" not in error["message"]
    assert alice.available() == before


def test_a_request_id_is_the_callers_own_if_it_is_sane(alice: Caller) -> None:
    mine = alice.get("balance", headers={"x-request-id": "my-id.1:2_3"})
    assert mine.headers["x-request-id"] == "my-id.1:2_3"
    for other in ("a b", "x" * 101, "<script>", ""):
        theirs = alice.get("balance", headers={"x-request-id": other}).headers["x-request-id"]
        assert theirs not in (other, "")
    assert alice.get("nothing", headers={"x-request-id": "x1"}).headers["x-request-id"] == "x1"


def test_a_request_id_is_in_the_log(system: System, alice: Caller) -> None:
    alice.chat("[error]", "echo-slow", headers={"x-request-id": "find-me-in-the-log"})
    lines = [line for line in system.said().splitlines() if "find-me-in-the-log" in line]
    # The web's own line, and that of the pod, which has the reason.
    assert any("/api/v1/chat/completions" in line for line in lines)
    assert any("asked to fail" in line for line in lines)


def test_a_malformed_request_is_answered(system: System) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=10)
    connection.request("POST", "/api/v1/chat/completions", headers={"Content-Length": "ten"})
    response = connection.getresponse()
    assert response.status in (400, 401)
    connection.close()
