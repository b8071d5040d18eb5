"""A job as code: what is copied asks for the same again."""

import json
import shlex
from typing import Any

import pytest

from modelpilot.accounts import keys
from modelpilot.accounts.models import ApiKey, User
from modelpilot.api.drawing import DrawingBody
from modelpilot.api.embeddings import EmbeddingsBody
from modelpilot.api.images import GenerationsBody
from modelpilot.api.schemas import AudioBody, SpeechBody
from modelpilot.api.text import ChatBody, CompletionBody
from modelpilot.api.videos import VideosBody
from modelpilot.dashboard import calls
from modelpilot.jobs.models import Job

CHAT = {"model": "smollm2-135m", "messages": [{"role": "user", "content": 'It\'s "me"\n€'}]}
TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}
DRAWN = {"prompt": "a cat", "width": 64, "height": 48, "steps": 4, "seed": 7, "guidance": 2.0}
FILMED = {**DRAWN, "num_frames": 8, "fps": 8}


@pytest.mark.parametrize(
    ("route", "body", "given"),
    [
        ("chat/completions", ChatBody, {**CHAT, "max_tokens": 5, "stop": ["a"], "n": 2}),
        ("chat/completions", ChatBody, {**CHAT, "tools": [TOOL], "parallel_tool_calls": False}),
        ("chat/completions", ChatBody, {**CHAT, "logprobs": True, "top_logprobs": 2}),
        ("chat/completions", ChatBody, {**CHAT, "response_format": {"type": "json_object"}}),
        ("completions", CompletionBody, {"model": "m", "prompt": "Once", "max_tokens": 9}),
        ("completions", CompletionBody, {"model": "m", "prompt": "Once", "logprobs": 3}),
        ("completions", CompletionBody, {"model": "m", "prompt": "Once", "logprobs": 0}),
        ("audio/speech", SpeechBody, {"model": "m", "input": "Hi", "response_format": "wav"}),
        ("generate/audio", AudioBody, {"model": "m", "text": "Hi", "voice": "joe", "speed": 1.5}),
        ("generate/image", DrawingBody, {"model": "m", **DRAWN}),
        ("images/generations", GenerationsBody, {"model": "m", **DRAWN, "n": 2}),
        ("images/generations", GenerationsBody, {"model": "m", "prompt": "x", "size": "64x48"}),
        ("videos", VideosBody, {"model": "m", **FILMED}),
        ("embeddings", EmbeddingsBody, {"model": "m", "input": ["one", "two"]}),
    ],
)
def test_the_body_is_read_as_the_job_was(route: str, body: Any, given: dict[str, Any]) -> None:
    request = body.model_validate(given).request()
    job = Job(route=route, model=given["model"], request=request)

    again = calls.body_of(job)

    assert body.model_validate(again).request() == request
    # What is usual is not said.
    assert "presence_penalty" not in again
    assert again.get("n") != 1


def test_all_languages_carry_the_body(alice: User) -> None:
    keys.create(alice)
    key = ApiKey.objects.get()
    job = Job(
        route="chat/completions",
        model="smollm2-135m",
        request=ChatBody.model_validate({**CHAT, "temperature": 0.5}).request(),
    )
    expected = calls.body_of(job)
    written = {name: calls.sample(job, name, key) for name in calls.LANGUAGES}

    for text in written.values():
        assert f"Bearer mp_live_…{key.last_four}" in text
        assert "http://127.0.0.1:8000/api/v1/chat/completions" in text
    words = shlex.split(written["curl"].replace("\\\n", " "))
    assert json.loads(words[words.index("-d") + 1]) == expected
    sent: dict[str, Any] = {}
    told = written["python"].replace("import requests\n", "").replace("print(answer.json())", "")
    exec(told.replace("answer.raise_for_status()", ""), {"requests": Requests(sent)})
    assert sent["json"] == expected
    inside = written["javascript"].partition("JSON.stringify(")[2].partition(")")[0]
    assert json.loads(inside) == expected


class Requests:
    """Takes what the library would send."""

    def __init__(self, sent: dict[str, Any]) -> None:
        self.sent = sent

    def post(self, url: str, **given: Any) -> None:
        self.sent.update(given)


def test_files_are_named_instead_of_written() -> None:
    picture = "iVBORw0KGgo" * 1000
    request = {**DRAWN, "image": picture, "mask": None, "strength": 0.5}
    text = calls.sample(Job(route="images/edits", model="m", request=request), "curl", None)
    assert picture not in text
    assert "characters of base64" in text

    heard = Job(route="audio/transcriptions", model="m", request={"audio": picture, "words": True})
    for language in calls.LANGUAGES:
        told = calls.sample(heard, language, None)
        assert picture not in told
        assert "recording.wav" in told
