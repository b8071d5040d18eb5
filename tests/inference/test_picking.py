"""Which engine a card gets on which hardware: a pure function of facts."""

import pytest

from inference import picking
from inference.catalog import Card, Catalog, Variant
from inference.picking import Choice

CPU, SMALL_GPU, GPU = ("cpu", 30_000), ("cuda", 9_000), ("cuda", 80_000)


def obstacle_on(*pools: tuple[str, int], missing: str = "") -> picking.Obstacle:
    """What hinders on a machine with these pools of memory, where one engine is missing."""

    def obstacle(way: Card) -> str | None:
        if way.engine == missing:
            return "not installed"
        fits = any(kind == way.device and memory >= way.memory_mb for kind, memory in pools)
        return None if fits else "too small"

    return obstacle


@pytest.mark.parametrize(
    ("pools", "missing", "engine", "why"),
    [
        ([CPU, GPU], "", "text_transformers", "a GPU has room for it"),
        ([CPU, SMALL_GPU], "", "text_llamacpp", "the first that fits here"),
        ([CPU], "", "text_llamacpp", "the first that fits here"),
        ([CPU, GPU], "text_transformers", "text_llamacpp", "the first that fits here"),
    ],
)
@pytest.mark.parametrize("model", ["qwen3-8b", "gemma3:4b", "deepseek-r1"])
def test_the_seed_models(
    cards: Catalog,
    model: str,
    pools: list[tuple[str, int]],
    missing: str,
    engine: str,
    why: str,
) -> None:
    picked = picking.pick(cards.cards[model], obstacle_on(*pools, missing=missing))
    assert (picked.card.engine, picked.why, picked.obstacle) == (engine, why, None)


def test_the_cards_order_counts_on_one_device(cards: Catalog) -> None:
    card = cards.cards["smollm2-135m"]
    assert picking.pick(card, obstacle_on(CPU)).card.engine == "text_llamacpp"
    other = picking.pick(card, obstacle_on(CPU, missing="text_llamacpp"))
    assert other.card.engine == "text_transformers"
    assert [(way.engine, reason) for way, reason in other.passed] == [
        ("text_llamacpp", "not installed")
    ]


def test_an_operator_may_choose(cards: Catalog) -> None:
    card = cards.cards["smollm2-135m"]
    picked = picking.pick(card, obstacle_on(CPU), Choice("text_transformers"))
    assert (picked.card.engine, picked.why) == ("text_transformers", "the operator chose it")
    chosen = Choice("text_transformers")
    refused = picking.pick(cards.cards["qwen3-8b"], obstacle_on(CPU), chosen)
    assert (refused.card.device, refused.obstacle) == ("cuda", "too small")


def test_a_way_on_several_devices_is_one_like_others(cards: Catalog) -> None:
    one = cards.cards["qwen3-8b"].way("text_transformers", "cuda")
    both = Variant(engine="text_transformers", device="cuda", devices=2, memory_mb=14_000)
    card = one.model_copy(update={"variants": [both]})
    assert card.way("text_transformers", "cuda", 2).memory_mb == 14_000
    alone = picking.pick(card, lambda way: "too large" if way.devices == 2 else None)
    assert (alone.card.devices, alone.why) == (1, "a GPU has room for it")
    shared = picking.pick(card, lambda way: "too large" if way.devices == 1 else None)
    assert (shared.card.devices, shared.why) == (2, "it fits if GPUs share it")
    chosen = picking.pick(card, lambda _: None, Choice(devices=2))
    assert (chosen.card.devices, chosen.why) == (2, "the operator chose it")
    assert picking.pick(card, lambda _: None).card.devices == 1, "the card's order"


def test_where_nothing_fits_the_cards_own_way_says_why(cards: Catalog) -> None:
    picked = picking.pick(cards.cards["qwen3-8b"], obstacle_on(("cpu", 100)))
    assert (picked.card.engine, picked.obstacle) == ("text_llamacpp", "too small")


def test_a_variant_says_only_what_differs(cards: Catalog) -> None:
    card = cards.cards["qwen3-8b"]
    way = card.way("text_transformers", "cuda")
    assert way.slots == 32
    assert way.files["model"].sources[1].startswith("hub:Qwen/Qwen3-8B@")
    assert (way.id, way.price, way.context) == (card.id, card.price, card.context)
    assert not way.variants
