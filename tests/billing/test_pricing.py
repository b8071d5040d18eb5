"""What a request costs: properties of the arithmetic, and of the bound that is quoted."""

import json
from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import pricing
from billing.money import micros
from billing.pricing import UNITS, Measures, Price, cost
from inference.catalog import PARTS, Card
from inference.types import Kind
from modelpilot.fleet.catalog import cards, price_of
from modelpilot.jobs import measures

amounts = st.integers(0, 10**9)
counts = st.integers(0, 10**7)
spans = st.fractions(0, 10_000, max_denominator=1000)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    parts = {name: draw(amounts) for name in UNITS if name != "cached_input_tokens"}
    cached = draw(st.none() | st.integers(0, parts["input_tokens"]))
    bases = {"base_pixels": draw(counts), "base_steps": draw(counts)}
    return Price(cached_input_tokens=cached, **parts, **bases)


@st.composite
def measured(draw: st.DrawFn) -> Measures:
    return Measures(
        requests=draw(st.integers(1, 4)),
        video_seconds=draw(spans),
        audio_seconds=draw(spans),
        **{
            name: draw(counts)
            for name in (
                "input_tokens",
                "cached_input_tokens",
                "output_tokens",
                "pixels",
                "steps",
                "characters",
            )
        },
    )


@given(prices(), measured())
def test_a_cost_is_a_whole_number_that_is_never_negative(price: Price, of: Measures) -> None:
    found = cost(price, of)
    assert type(found) is int
    assert found >= 0


@given(prices(), measured(), st.sampled_from([field.name for field in fields(Measures)]), counts)
def test_more_of_anything_never_costs_less(
    price: Price, of: Measures, name: str, more: int
) -> None:
    assert cost(price, replace(of, **{name: getattr(of, name) + more})) >= cost(price, of)


@given(prices(), measured())
def test_it_is_rounded_up_once(price: Price, of: Measures) -> None:
    parts = price.as_json()
    alone = [
        cost(Price.from_json({**only, **bases(parts)}), of)
        for name in parts
        if name in UNITS and (only := part(parts, name)) is not None
    ]
    # Each part by itself is rounded up too, so together they are more by less than one each.
    assert sum(alone) - max(0, len(alone) - 1) <= cost(price, of) <= sum(alone)


def part(parts: dict[str, int], name: str) -> dict[str, int] | None:
    """The price that charges for one part only; cached input needs the other's beside it."""
    if name == "cached_input_tokens":
        return None
    both = ("input_tokens", "cached_input_tokens") if name == "input_tokens" else (name,)
    return {each: parts[each] for each in both if each in parts}


def bases(parts: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in parts.items() if name.startswith("base_")}


@given(prices())
def test_a_price_survives_a_job(price: Price) -> None:
    assert Price.from_json(json.loads(json.dumps(price.as_json()))) == price


@given(prices(), measured(), st.integers(0, 10**7))
def test_what_was_cached_never_costs_more(price: Price, of: Measures, cached: int) -> None:
    read = replace(of, input_tokens=of.input_tokens + cached)
    known = replace(of, cached_input_tokens=of.cached_input_tokens + cached)
    assert cost(price, known) <= cost(price, read)


# Long enough that nothing hides in what is reckoned for the template.
texts = st.text(max_size=200) | st.builds(
    lambda text, times: text * times, st.text("a é三🦔\n", max_size=20), st.integers(1, 50)
)
SYSTEM = "You are helpful. " * 50
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": texts},
        optional={"tool_calls": st.lists(st.dictionaries(texts, texts), max_size=2)},
    ),
    max_size=5,
)


@given(prices(), st.data())
def test_a_quote_covers_whatever_the_model_makes_of_it(price: Price, data: st.DataObject) -> None:
    """A tokenizer makes a token of each byte at worst, and an answer fills the rest at most."""
    context, n = data.draw(st.integers(1, 20_000)), data.draw(st.integers(1, 4))
    card = text_card(context)
    request: dict[str, Any] = {
        "messages": data.draw(messages),
        "max_tokens": data.draw(st.none() | st.integers(1, 10_000)),
        "n": n,
    }
    said = len(SYSTEM) + sum(len(message["content"].encode()) for message in request["messages"])
    called = sum(len(json.dumps(message.get("tool_calls", ""))) for message in request["messages"])
    template = 7 * (len(request["messages"]) + 1) + 150
    longest_prompt = min(said + called + template, context)
    assert measures.at_most(card, request).input_tokens >= longest_prompt
    prompt = data.draw(st.integers(0, longest_prompt))
    longest = min(request["max_tokens"] or context, context - prompt)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": data.draw(st.integers(0, n * longest)),
        "prompt_tokens_details": {"cached_tokens": data.draw(st.integers(0, prompt))},
    }

    quoted = cost(price, measures.at_most(card, request))

    assert cost(price, measures.of_result("text", request, {"usage": usage})) <= quoted


drawn = {
    "n": st.integers(1, 4),
    "width": st.integers(8, 4096),
    "height": st.integers(8, 4096),
    "steps": st.integers(1, 200),
}
# By kind: what may be asked, besides text, of which the test above is.
ASKED: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "embedding": st.fixed_dictionaries({"inputs": st.lists(texts, min_size=1, max_size=5)}),
    "transcription": st.just({"audio": "UklGRg=="}),
    "image": st.fixed_dictionaries(drawn),
    "audio": st.fixed_dictionaries({"text": texts}),
    "video": st.fixed_dictionaries(
        {**drawn, "num_frames": st.integers(1, 500), "fps": st.integers(1, 60)}
    ),
}


def made_of(data: st.DataObject, card: Card, request: dict[str, Any]) -> dict[str, Any]:
    """What a model of the card's kind may make of a request, as its engine tells it."""
    if card.kind == "embedding":
        # A token of each byte at worst, and two that the model adds, as far as it reads.
        longest = sum(min(len(text.encode()) + 2, card.context or 0) for text in request["inputs"])
        return {"usage": {"prompt_tokens": data.draw(st.integers(0, longest))}}
    if card.kind == "transcription":
        return {"duration_s": data.draw(st.floats(0, card.max_seconds or 0))}
    return {}


@pytest.mark.parametrize("kind", ASKED)
@given(data=st.data())
def test_a_quote_covers_every_kind_in_every_part(kind: str, data: st.DataObject) -> None:
    """Settled by what a job keeps of its price, as its pod reads it."""
    parts = dict.fromkeys(("request", *PARTS[kind], "base_pixels", "base_steps"), amounts)
    price = Price.from_json(data.draw(st.fixed_dictionaries({}, optional=parts)))
    kept = Price.from_json(json.loads(json.dumps(price.as_json())))
    bounds = {"context": data.draw(st.integers(1, 5000)), "max_seconds": 90}
    card = text_card(100).model_copy(update={"kind": kind, **bounds})
    request = data.draw(ASKED[kind])
    quoted = cost(price, measures.at_most(card, request))

    settled = cost(kept, measures.of_result(kind, request, made_of(data, card, request)))

    assert 0 <= settled <= quoted
    if kind in ("image", "video", "audio"):
        # These say themselves what they are.
        assert settled == quoted
    # A larger request is never quoted less.
    name = data.draw(st.sampled_from(sorted(request.keys() & drawn.keys()) or [""]))
    if name:
        larger = {**request, name: request[name] + data.draw(st.integers(0, 1000))}
        assert cost(price, measures.at_most(card, larger)) >= quoted


def test_every_kind_is_looked_at() -> None:
    assert {"text", *ASKED} == PARTS.keys() == set(Kind)


def test_embeddings_and_transcriptions_have_their_bounds() -> None:
    card = text_card(100).model_copy(update={"kind": "embedding"})
    inputs = {"inputs": ["short", "long " * 100]}
    price = Price(input_tokens=1_000_000)
    assert cost(price, measures.at_most(card, inputs)) == 5 + measures.PER_MESSAGE + 100
    used = {"usage": {"prompt_tokens": 77, "total_tokens": 77}}
    assert cost(price, measures.of_result("embedding", inputs, used)) == 77

    card = text_card(100).model_copy(update={"kind": "transcription", "max_seconds": 90})
    price = Price(audio_minutes=6000)
    assert cost(price, measures.at_most(card, {"audio": "UklGRg=="})) == 9000
    assert cost(price, measures.of_result("transcription", {}, {"duration_s": 2.005})) == 201


@pytest.mark.parametrize("model", sorted(cards().cards))
def test_the_default_of_a_card_costs_its_flat_price(model: str) -> None:
    """Of the built-in ones, which stay flat; and surcharges begin above what is drawn anyway."""
    card = cards().cards[model]
    flat = price_of(card)
    assert flat.as_json() == {"request": int(card.price["request"] * 1_000_000)}
    asked = {name: int(bounds.default) for name, bounds in card.parameters.items()}
    if card.kind is not Kind.IMAGE:
        return
    dear = price_of(card, {"request": 100, "megapixels": 5000, "steps": 10})
    assert cost(dear, measures.at_most(card, {**asked, "n": 2})) == 200
    more = {**asked, "steps": asked["steps"] + 3, "width": asked["width"] + 1, "n": 2}
    beyond = micros("0.005") * asked["height"] / 1_000_000
    assert cost(dear, measures.at_most(card, more)) == 200 + 2 * 30 + -(-2 * beyond // 1)


def text_card(context: int) -> Card:
    changed = {"context": context, "options": {"system": SYSTEM}}
    return cards().cards["smollm2-135m"].model_copy(update=changed)


def test_the_parts_are_charged_by_their_units() -> None:
    price = Price.from_json(
        pricing.parse(
            {
                "request": "0.001",
                "input_tokens": "0.15",
                "cached_input_tokens": "0.05",
                "output_tokens": "0.60",
                "video_seconds": "0.02",
                "characters": "0.015",
                "audio_minutes": "0.006",
            }
        )
    )
    for measure, dollars in (
        ({"requests": 3}, "0.003"),
        ({"input_tokens": 2_000_000}, "0.301"),
        ({"cached_input_tokens": 1_000_000}, "0.051"),
        ({"output_tokens": 500_000}, "0.301"),
        ({"video_seconds": Fraction(5, 2)}, "0.051"),
        ({"characters": 3000}, "0.046"),
        ({"audio_seconds": Fraction(30)}, "0.004"),
        # 0.15 of a millionth, rounded up.
        ({"input_tokens": 1}, "0.001001"),
    ):
        assert cost(price, Measures(**measure)) == micros(dollars), measure
    assert str(price).startswith("$0.001/request + $0.15/1M input tokens + ")
    assert str(Price(request=1000)) == "$0.001"
    assert str(Price()) == "$0.00"


@pytest.mark.parametrize(
    "parts",
    [
        {"input_tokens": "-1"},
        {"input_tokens": "0.0000001"},
        {"input_tokens": "much"},
        {"input_tokens": "NaN"},
        {"input_tokens": "1000001"},
        {"tokens": "1"},
        {"input_tokens": "1", "cached_input_tokens": "2"},
    ],
)
def test_what_is_no_price_is_refused(parts: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        pricing.parse(parts)


def test_the_catalog_knows_the_same_parts() -> None:
    assert {"request", *(part for parts in PARTS.values() for part in parts)} == UNITS.keys()
    with pytest.raises(ValueError, match="megapixels is no part of smollm2-135m's price"):
        price_of(cards().cards["smollm2-135m"], {"megapixels": 1})
    assert price_of(cards().cards["kokoro"]) == Price(request=int(Decimal("0.002") * 1_000_000))
