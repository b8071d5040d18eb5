"""GET /models, and the names that models go by."""

import pytest

from tests.api.caller import Caller, error_of


def test_models_are_listed_with_prices(alice: Caller) -> None:
    with alice.openai() as client:
        models = {model.id: model.to_dict() for model in client.models.list()}
    assert {"smollm2-135m", "kokoro", "piper-joe", "echo"} <= models.keys()
    assert models["kokoro"]["modality"] == "audio"
    assert models["kokoro"]["pricing"] == {
        "unit": "request",
        "price": 0.002,
        "parts": {"request": 0.002},
        "currency": "USD",
    }
    assert models["smollm2-135m"]["parameters"]["temperature"]["max"] == 2  # type: ignore[index]
    assert models["smollm2-135m"]["status"]
    assert "flux-dev" not in models


@pytest.mark.parametrize("name", ["echo-tagged:1b", "echo-tagged"])
def test_a_model_is_found_by_its_name_without_the_tag(alice: Caller, name: str) -> None:
    with alice.openai("/v1") as client:
        assert client.models.retrieve(name).id == "echo-tagged:1b"
    answer = alice.chat("hello", name, max_tokens=1).json()
    assert answer["model"] == "echo-tagged:1b"


def test_an_exact_name_wins(alice: Caller) -> None:
    assert alice.get("models/echo").json()["id"] == "echo"
    assert alice.get("models/echo:bench").json()["id"] == "echo:bench"


def test_an_unknown_model_is_404(alice: Caller) -> None:
    error_of(alice.get("models/nothing"), 404, "model_not_found")
    error_of(alice.get("models/qwen3-8b"), 404, "model_not_found")
