"""Models and prices, for everybody: what stands there is in force."""

import pytest
from django.test import Client

from billing.money import micros
from modelpilot.fleet import prices
from modelpilot.fleet.catalog import cards
from modelpilot.fleet.models import Deployment
from tests.dashboard.test_shell import assert_strict


def test_every_model_has_a_page_that_says_all(visitor: Client) -> None:
    for card in cards().cards.values():
        answer = visitor.get(f"/models/{card.id}")
        text = answer.content.decode()
        assert answer.status_code == 200, card.id
        assert card.licence in text.replace("&#x27;", "'")
        assert "Not deployed" in text
        for name, bounds in card.parameters.items():
            assert f"<code>{name}</code>" in text
            assert f">{bounds.max}<" in text
    assert_strict(visitor.get("/models/emoji-64"))


@pytest.mark.parametrize("path", ["/models", "/pricing"])
def test_all_are_listed_with_their_prices_in_force(visitor: Client, path: str) -> None:
    card = cards().cards["emoji-64"]
    prices.change(card, {"request": micros("0.777"), "steps": 5}, reason="test")
    answer = visitor.get(path)
    assert_strict(answer)
    text = answer.content.decode()

    assert all(f'href="/models/{each}"' in text for each in cards().cards)
    assert "$0.777" in text
    assert "$0.000005" in text
    assert ("above 20 steps" in text) is (path == "/pricing")


def test_states_are_those_of_the_deployments(visitor: Client) -> None:
    Deployment.objects.create(model="emoji-64")
    Deployment.objects.create(model="kokoro", desired="stopped")

    assert "Cold" in visitor.get("/models/emoji-64").content.decode()
    assert "Stopped" in visitor.get("/models/kokoro").content.decode()


def test_a_short_name_leads_to_the_model(visitor: Client) -> None:
    assert visitor.get("/models/gemma3").headers["Location"] == "/models/gemma3:4b"
    assert visitor.get("/models/nothing").status_code == 404
