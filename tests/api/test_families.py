"""OpenAI's client against a tiny model of each seed family, on safetensors, through everything.

`make clients` does the same with the client for JavaScript, and with SmolLM2 on both engines.
"""

from collections.abc import Iterator

import openai
import pytest

from tests.api.caller import Caller
from tests.clients import around, chat, forms
from tests.clients.models import MODELS, Model

FAMILIES = {
    model.id: model
    for model in MODELS
    if model.id in ("tiny-qwen3", "tiny-gemma3", "tiny-deepseek-qwen")
}
ROUTES = {**chat.ROUTES, **forms.ROUTES, **around.BY_MODEL}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, bob: Caller) -> Model:
    """Its pod is up: a stream's refusals come as such only then."""
    assert bob.chat("warm", request.param, max_tokens=1).status_code == 200
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def client(alice: Caller) -> Iterator[openai.OpenAI]:
    with alice.openai() as client:
        yield client


@pytest.mark.parametrize("route", ROUTES)
def test_a_family_takes_every_route(model: Model, client: openai.OpenAI, route: str) -> None:
    ROUTES[route](client, model)
