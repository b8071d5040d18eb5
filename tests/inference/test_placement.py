"""How a diffusion model is put into a GPU of a given size."""

from typing import Final

import pytest

from inference import catalog
from inference.catalog import Footprint
from inference.drawing import placement
from inference.errors import InferenceError

CARDS = catalog.load([]).cards

HALF, NF4 = "half", "nf4"
RESIDENT: Final = "resident"
OFFLOAD: Final = "model offload"
GROUPS: Final = "group offload"

# What is free of the GPU in GB, and the plan with and without bitsandbytes.
TABLE = {
    "flux-schnell": [
        (8, (HALF, GROUPS), (HALF, GROUPS)),
        (12, (NF4, OFFLOAD), (HALF, GROUPS)),
        (16, (NF4, RESIDENT), (HALF, GROUPS)),
        (24, (NF4, RESIDENT), (HALF, GROUPS)),
        (48, (HALF, RESIDENT), (HALF, RESIDENT)),
        (80, (HALF, RESIDENT), (HALF, RESIDENT)),
    ],
    "zimage": [
        (8, (NF4, OFFLOAD), (HALF, GROUPS)),
        (12, (NF4, RESIDENT), (HALF, GROUPS)),
        (16, (HALF, OFFLOAD), (HALF, OFFLOAD)),
        (24, (HALF, OFFLOAD), (HALF, OFFLOAD)),
        (48, (HALF, RESIDENT), (HALF, RESIDENT)),
        (80, (HALF, RESIDENT), (HALF, RESIDENT)),
    ],
    "sdxl": [
        (8, (HALF, OFFLOAD), (HALF, OFFLOAD)),
        (12, (HALF, RESIDENT), (HALF, RESIDENT)),
        (16, (HALF, RESIDENT), (HALF, RESIDENT)),
        (24, (HALF, RESIDENT), (HALF, RESIDENT)),
        (48, (HALF, RESIDENT), (HALF, RESIDENT)),
        (80, (HALF, RESIDENT), (HALF, RESIDENT)),
    ],
    "wan-t2v": [
        (9, (HALF, GROUPS), (HALF, GROUPS)),
        (12, (NF4, OFFLOAD), (HALF, GROUPS)),
        (16, (HALF, OFFLOAD), (HALF, OFFLOAD)),
        (24, (HALF, OFFLOAD), (HALF, OFFLOAD)),
        (48, (HALF, RESIDENT), (HALF, RESIDENT)),
        (80, (HALF, RESIDENT), (HALF, RESIDENT)),
    ],
}
TABLE["flux-dev"] = TABLE["flux-schnell"]


@pytest.mark.parametrize("name", TABLE)
def test_the_fastest_plan_that_fits(name: str) -> None:
    footprint = CARDS[name].footprint
    for free_gb, *wanted in TABLE[name]:
        plans = [placement.choose(footprint, free_gb, installed) for installed in (True, False)]
        assert [(plan.precision, plan.residence) for plan in plans] == wanted, free_gb
        assert all(plan.needs_gb <= free_gb for plan in plans)
        assert all(plan.tiled == (plan.residence == GROUPS) for plan in plans)


@pytest.mark.parametrize("name", TABLE)
def test_a_cards_memory_is_what_one_of_its_plans_needs(name: str) -> None:
    card = CARDS[name]
    assert card.footprint is not None
    plan = placement.choose(card.footprint, card.memory_mb / 1000, "quantize" in card.options)
    assert plan.residence != GROUPS
    assert card.memory_mb / 1000 - plan.needs_gb < 1


# The most that tensors took on an H100, in GB.
MEASURED: dict[str, dict[placement.Residence, float]] = {
    "sdxl": {RESIDENT: 9.6, OFFLOAD: 5.6, GROUPS: 2.6},
    "wan-t2v": {RESIDENT: 24.2},
}


@pytest.mark.parametrize("name", MEASURED)
def test_plans_have_room_for_what_was_measured(name: str) -> None:
    footprint = CARDS[name].footprint
    assert footprint is not None
    needs = {plan.residence: plan.needs_gb for plan in placement.plans(footprint)[::-1]}
    for residence, taken_gb in MEASURED[name].items():
        assert taken_gb < needs[residence] < 1.3 * taken_gb, residence


def test_what_fits_nowhere_is_told_with_the_number() -> None:
    footprint = Footprint(core_gb=24, encoder_gb=10, vae_gb=0.2, activation_gb=3)
    with pytest.raises(InferenceError, match=r"needs 3\.6 GB .* at the least; 2\.0 GB are free"):
        placement.choose(footprint, 2.0, quantization=True)


def test_without_bitsandbytes_it_is_said_what_that_would_bring() -> None:
    flux = CARDS["flux-dev"].footprint
    advice = placement.passed_over(flux, 16)
    assert advice is not None
    assert "pip install 'modelpilot[quantization]'" in advice
    assert placement.passed_over(flux, 48) is None
    assert placement.passed_over(None, 16) is None


def test_without_a_footprint_all_is_put_on_the_gpu() -> None:
    plan = placement.choose(None, 1.0, quantization=True)
    assert (plan.precision, plan.residence) == (HALF, RESIDENT)
