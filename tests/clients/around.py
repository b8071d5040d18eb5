"""The routes around chat by OpenAI's client for Python."""

import base64
import io
import math
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients.models import Model

SENTENCE = "The weather is very nice today."
FRANCE = "The capital of France is"


# By text model


def completions(client: OpenAI, model: Model) -> None:
    fields: Any = {"model": model.id, "prompt": FRANCE, "max_tokens": 12, "seed": 3}
    answer = client.completions.create(**fields, n=2, echo=True)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.text.startswith(FRANCE) for choice in answer.choices)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 24
    [alone] = client.completions.create(**fields).choices
    *chunks, last = client.completions.create(
        **fields, stream=True, stream_options={"include_usage": True}
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == alone.text
    assert last.choices == []
    assert last.usage is not None


def completion_logprobs(client: OpenAI, model: Model) -> None:
    fields: Any = {"model": model.id, "prompt": FRANCE, "max_tokens": 8, "logprobs": 2, "seed": 3}
    told = client.completions.create(**fields).choices[0].logprobs
    assert told is not None
    assert told.tokens
    assert all(len(others) <= 2 for others in told.top_logprobs or [])
    assert all(logprob <= 0 for logprob in told.token_logprobs or [1])
    streamed = [
        token
        for chunk in client.completions.create(**fields, stream=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.tokens or ()
    ]
    assert streamed == told.tokens


def completion_stop(client: OpenAI, model: Model) -> None:
    """Between two tokens that are all but forced, the second one stops."""
    bias = dict.fromkeys(map(str, model.letters), 97)
    [choice] = client.completions.create(
        model=model.id, prompt="x", max_tokens=120, temperature=0, frequency_penalty=2,
        logit_bias=bias, stop=["AB", "BA"],
    ).choices  # fmt: skip
    assert choice.finish_reason == "stop"
    assert len(set(choice.text)) <= 1, choice.text


# By client


def models(client: OpenAI, model: Model) -> None:
    listed = [one.id for one in client.models.list()]
    assert model.id in listed
    assert client.models.retrieve(model.id).id == model.id


def embeddings(client: OpenAI, model: Model) -> None:
    texts = ["a red apple", "a green apple", "the theory of relativity"]
    fields: Any = {"model": "all-minilm-l6-v2", "input": texts}
    vectors = [one.embedding for one in client.embeddings.create(**fields).data]
    as_numbers = client.embeddings.create(**fields, encoding_format="float")
    for one, other in zip(vectors, (each.embedding for each in as_numbers.data), strict=True):
        assert all(abs(a - b) < 1e-6 for a, b in zip(one, other, strict=True))
    assert likeness(vectors[0], vectors[1]) > likeness(vectors[0], vectors[2]) + 0.2
    assert as_numbers.usage.total_tokens > 6


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (
        math.hypot(*one) * math.hypot(*other)
    )


def spoken(client: OpenAI) -> io.BytesIO:
    speech = client.audio.speech.create(
        model="piper-joe", voice="alloy", input=SENTENCE, response_format="wav"
    )
    sound = io.BytesIO(speech.content)
    sound.name = "speech.wav"
    return sound


def speech(client: OpenAI, model: Model) -> None:
    assert spoken(client).getvalue().startswith(b"RIFF")
    with client.audio.speech.with_streaming_response.create(
        model="piper-joe", voice="alloy", input=SENTENCE
    ) as response:
        assert len(b"".join(response.iter_bytes())) > 2000


def transcriptions(client: OpenAI, model: Model) -> None:
    fields: Any = {"model": "pocketsphinx", "file": spoken(client)}

    def create(**more: Any) -> Any:
        fields["file"].seek(0)
        return client.audio.transcriptions.create(**fields, **more)

    text = create().text
    assert "weather" in text
    verbose = create(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert verbose.text == text
    assert verbose.segments[0].end <= verbose.duration + 0.1
    assert "weather" in [word.word for word in verbose.words]
    assert create(response_format="text").strip() == text
    assert "-->" in create(response_format="srt")
    assert create(response_format="vtt").startswith("WEBVTT")
    events = list(create(stream=True))
    assert "".join(e.delta for e in events if e.type == "transcript.text.delta") == text
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == text


def images(client: OpenAI, model: Model) -> None:
    drawn = client.images.generate(model="emoji-64", prompt="a red apple", size="256x256", n=2)
    assert drawn.data is not None
    pictures = [base64.b64decode(one.b64_json or "") for one in drawn.data]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    edited = client.images.edit(
        model="emoji-64", prompt="a green apple", image=("apple.png", pictures[0], "image/png")
    )
    assert edited.data


def refusals(client: OpenAI, model: Model) -> None:
    def refused(kind: type[openai.APIStatusError], one: OpenAI = client, **fields: Any) -> Any:
        hello: Any = [{"role": "user", "content": "Hi"}]
        with pytest.raises(kind) as refusal:
            one.chat.completions.create(**{**model.body(messages=hello), **fields})
        return refusal.value

    refused(openai.AuthenticationError, client.with_options(api_key="mp_live_wrong"))
    assert refused(openai.NotFoundError, model="gpt-4o").code == "model_not_found"
    wrong = refused(openai.UnprocessableEntityError, temperature=3)
    assert (wrong.param, wrong.code) == ("temperature", "invalid_value")
    lacking = refused(openai.BadRequestError, functions=[{"name": "f"}])
    assert (lacking.param, lacking.code) == ("functions", "unsupported_parameter")
    assert refused(openai.BadRequestError, model="piper-joe").code == "invalid_model_type"
    dear = refused(openai.APIStatusError, extra_body={"max_cost": 0.0000001})
    assert (dear.status_code, dear.code) == (402, "max_cost_exceeded")


BY_MODEL = {
    "completions, and streamed": completions,
    "completions, logprobs": completion_logprobs,
    "completions, stop": completion_stop,
}
ONCE = {
    "models": models,
    "embeddings": embeddings,
    "audio/speech": speech,
    "audio/transcriptions": transcriptions,
    "images": images,
    "refusals": refusals,
}
