"""Pictures by diffusers: every card of ours, on a pipeline of its own kind with random weights."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from inference.drawing import previews
from inference.errors import Cancelled, InferenceError, InvalidRequest
from inference.types import Engine
from tests.inference.drawing import (
    Heard,
    Steps,
    asking,
    assert_same,
    draw,
    draw_together,
    half_mask,
    ignore,
    opened,
    pixels,
    plain,
)

CARDS = ["flux-schnell", "flux-dev", "sdxl", "zimage"]
Start = Callable[..., Engine]

# A scheduler of diffusers and NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")


@pytest.fixture(scope="module")
def engines(start_tiny: Start) -> dict[str, Engine]:
    """One engine for each card, eight pictures at once."""
    return {name: start_tiny(name, slots=8) for name in CARDS}


@pytest.fixture(params=CARDS)
def engine(request: pytest.FixtureRequest, engines: dict[str, Engine]) -> Engine:
    return engines[request.param]


def test_a_picture(engine: Engine) -> None:
    result = draw(engine, width=48, height=32)
    assert [(file.name, file.media_type) for file in result.files] == [
        ("output_00001_.png", "image/png")
    ]
    assert result.data == {"images": [{"seed": 7, "width": 48, "height": 32}]}
    assert result.warnings == []
    picture = opened(result)
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (48, 32))
    # Noise of its own, no flat colour.
    assert len(set(picture.tobytes())) > 50


def test_the_seed_decides(engine: Engine) -> None:
    first = pixels(draw(engine))
    assert pixels(draw(engine)) == first
    assert pixels(draw(engine, seed=8)) != first
    assert pixels(draw(engine, prompt="a green house")) != first


def test_alone_and_in_a_batch_it_is_the_same_picture(engine: Engine) -> None:
    requests = [asking(seed=seed, prompt=f"picture {seed}" * seed) for seed in range(1, 9)]
    alone = [opened(engine.generate(request, ignore)) for request in requests]
    assert len({picture.tobytes() for picture in alone}) == 8
    with ThreadPoolExecutor(1) as pool, busy(engine, pool):
        together = draw_together(engine, requests)
    for result, picture in zip(together, alone, strict=True):
        assert_same(opened(result), picture)


def test_n_pictures_are_those_of_the_next_seeds(engine: Engine) -> None:
    three = draw(engine, n=3)
    assert [image["seed"] for image in three.data["images"]] == [7, 8, 9]
    assert [file.name for file in three.files] == [
        "output_00001_.png", "output_00002_.png", "output_00003_.png",
    ]  # fmt: skip
    for number in range(3):
        assert_same(opened(three, number), opened(draw(engine, seed=7 + number)))


def test_progress_and_previews(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "APART_S", 0.0)
    heard = Heard()
    engine.generate(asking(steps=10), heard)
    assert heard.fractions == sorted(heard.fractions)
    assert heard.fractions[0] == 0.0
    assert heard.fractions[-1] == pytest.approx(10 / 11)
    assert len(heard.fractions) == 11
    assert [preview.format for preview in heard.previews] == ["JPEG"] * 4
    assert {preview.size for preview in heard.previews} == {(32, 32)}


def test_a_preview_is_small(engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "APART_S", 0.0)
    heard = Heard()
    engines["flux-schnell"].generate(asking(steps=3, width=320, height=272), heard)
    assert heard.previews
    assert all(max(preview.size) <= 256 for preview in heard.previews)


def test_who_waits_a_moment_only_needs_no_preview(engines: dict[str, Engine]) -> None:
    heard = Heard()
    engines["zimage"].generate(asking(steps=5), heard)
    assert heard.previews == []
    assert len(heard.fractions) == 6


def test_a_card_can_be_without_previews(start_tiny: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "APART_S", 0.0)
    engine = start_tiny("zimage", options={"previews": False, "arguments": {"guidance_scale": 0.0}})
    heard = Heard()
    engine.generate(asking(steps=5), heard)
    assert heard.previews == []
    assert len(heard.fractions) == 6


def test_a_cancel_stops_at_the_next_step(engine: Engine) -> None:
    steps = Steps(last=2)
    with steps_of(engine) as made, pytest.raises(Cancelled):
        engine.generate(asking(steps=40), steps)
    wait_until_idle(engine)
    assert len(steps.heard) == 2
    assert len(made) == 2
    assert pixels(draw(engine))


def test_a_cancelled_one_does_not_stop_its_batch(engine: Engine) -> None:
    alone = opened(draw(engine, seed=1, steps=6))
    with ThreadPoolExecutor(3) as pool, busy(engine, pool):
        leaving = pool.submit(engine.generate, asking(seed=2, steps=6), Steps(last=2))
        staying = pool.submit(engine.generate, asking(seed=1, steps=6), ignore)
        with pytest.raises(Cancelled):
            leaving.result(60)
        assert_same(opened(staying.result(60)), alone)


def test_one_that_waits_can_be_cancelled(engines: dict[str, Engine]) -> None:
    engine = engines["zimage"]
    cancelled: list[bool] = []

    def leave(event: Any) -> None:
        # The first one is the request's own thread, before it waits.
        cancelled.append(True)
        if len(cancelled) > 1:
            raise Cancelled

    with ThreadPoolExecutor(2) as pool:
        steps = Steps()
        blocker = pool.submit(engine.generate, asking(steps=1000), steps)
        assert steps.first_step.wait(60)
        with pytest.raises(Cancelled):
            engine.generate(asking(steps=5), leave)
        assert not blocker.done()
        steps.last = 0
        with pytest.raises(Cancelled):
            blocker.result(60)


def test_beginning_with_a_picture(engine: Engine) -> None:
    little = draw(engine, image=plain(), strength=0.34, width=48)
    much = draw(engine, image=plain(), strength=1.0, width=48)
    assert opened(little).size == (48, 32)
    assert pixels(little) != pixels(much)
    assert pixels(little) != pixels(draw(engine, image=plain("blue"), strength=0.34, width=48))
    assert pixels(draw(engine, image=plain(), strength=0.8)) == pixels(draw(engine, image=plain()))


def test_two_pictures_begin_in_one_batch(engine: Engine) -> None:
    requests = [asking(seed=i, image=plain(colour)) for i, colour in enumerate(["red", "blue"])]
    alone = [opened(engine.generate(request, ignore)) for request in requests]
    with ThreadPoolExecutor(1) as pool, busy(engine, pool):
        together = draw_together(engine, requests)
    for result, picture in zip(together, alone, strict=True):
        assert_same(opened(result), picture)


def test_a_mask_keeps_the_rest(engine: Engine) -> None:
    def drawn(prompt: str) -> Any:
        result = draw(engine, image=plain(), mask=half_mask(), steps=6, prompt=prompt)
        return np.asarray(opened(result), np.int16)

    changed = np.abs(drawn("a fox") - drawn("the sea at night")).mean(axis=(0, 2))
    # The autoencoder smears the border between the halves.
    assert changed[:8].mean() < changed[24:].mean() / 3


def test_what_a_picture_needs_is_said(engines: dict[str, Engine]) -> None:
    engine = engines["flux-schnell"]
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"mask": half_mask()}, "image"),
        ({"image": b"GIF89a"}, "image"),
        ({"image": plain(), "mask": b"nothing"}, "mask"),
        ({"image": plain(), "strength": 0.2}, "strength"),
        ({"format": "gif"}, "format"),
    ]
    for wrong, param in wrongs:
        with pytest.raises(InvalidRequest) as error:
            draw(engine, **wrong)
        assert error.value.param == param


def test_a_card_can_be_for_words_only(start_tiny: Start) -> None:
    engine = start_tiny("sdxl", pipeline="emoji-64", options={"modes": ["text"]})
    with pytest.raises(InvalidRequest, match="sdxl can't begin with an image") as error:
        draw(engine, image=plain())
    assert error.value.param == "image"


@pytest.mark.parametrize(
    ("card", "wish", "warning"),
    [
        ("flux-schnell", {"negative_prompt": "fur"}, "flux-schnell knows no negative prompts"),
        ("zimage", {"negative_prompt": "fur"}, "zimage knows no negative prompts"),
        ("sdxl", {"negative_prompt": "fur", "guidance": 1.0}, "needs a guidance above 1"),
        ("flux-schnell", {"guidance": 9.0}, "flux-schnell has no guidance"),
        ("flux-dev", {"strength": 0.5}, "strength was ignored, as there is no image"),
    ],
)
def test_what_a_model_does_not_know_is_ignored_and_told(
    card: str, wish: dict[str, Any], warning: str, engines: dict[str, Engine]
) -> None:
    wished = draw(engines[card], **wish)
    assert len(wished.warnings) == 1
    assert warning in wished.warnings[0]
    without = draw(engines[card], guidance=1.0) if "guidance" in wish and card == "sdxl" else None
    assert pixels(wished) == pixels(without or draw(engines[card]))


@pytest.mark.parametrize(
    ("card", "wish"),
    [
        ("flux-dev", {"guidance": 9.0}),
        ("sdxl", {"guidance": 9.0}),
        ("sdxl", {"negative_prompt": "fur"}),
    ],
)
def test_what_a_model_knows_changes_the_picture(
    card: str, wish: dict[str, Any], engines: dict[str, Engine]
) -> None:
    wished = draw(engines[card], **wish)
    assert wished.warnings == []
    assert pixels(wished) != pixels(draw(engines[card]))


@pytest.mark.parametrize(("card", "reads"), [("sdxl", 77), ("flux-schnell", 256)])
def test_what_is_not_read_of_a_prompt_is_told(
    card: str, reads: int, engines: dict[str, Engine]
) -> None:
    # In these small models a letter is a token.
    assert draw(engines[card], prompt="x" * (reads - 10)).warnings == []
    (warning,) = draw(engines[card], prompt="x" * 300).warnings
    assert f"{card} reads only the first {reads}." in warning


def test_a_size_is_rounded_and_told(engine: Engine) -> None:
    result = draw(engine, width=50, height=20)
    assert opened(result).size == (48, 16)
    assert result.data["images"][0]["width"] == 48
    assert "48x16" in result.warnings[0]


def test_a_small_model_is_enlarged(start_tiny: Start) -> None:
    options = {"native_size": 64, "modes": ["text", "image"]}
    engine = start_tiny("sdxl", pipeline="emoji-64", options=options)
    small = opened(draw(engine, width=64, height=64))
    large = draw(engine, width=200, height=100)
    assert opened(large).size == (200, 100)
    assert large.data["images"] == [{"seed": 7, "width": 200, "height": 100}]
    assert large.warnings == []
    back = opened(large).crop((50, 0, 150, 100)).resize((64, 64))
    assert np.abs(np.asarray(back, np.int16) - np.asarray(small, np.int16)).mean() < 20
    assert opened(draw(engine, image=plain(), width=96, height=96)).size == (96, 96)


@pytest.mark.parametrize(
    ("form", "name", "media_type"),
    [
        ("jpeg", "output_00001_.jpg", "image/jpeg"),
        ("webp", "output_00001_.webp", "image/webp"),
    ],
)
def test_other_formats(form: str, name: str, media_type: str, engines: dict[str, Engine]) -> None:
    result = draw(engines["zimage"], format=form)
    assert (result.files[0].name, result.files[0].media_type) == (name, media_type)
    assert opened(result).format == form.upper()


def test_a_png_says_how_it_was_made(engines: dict[str, Engine]) -> None:
    wish = {"prompt": "狐 in the snow", "negative_prompt": "fur", "guidance": 6.5}
    assert opened(draw(engines["sdxl"], **wish)).info == {
        "prompt": "狐 in the snow",
        "negative_prompt": "fur",
        "model": "sdxl",
        "seed": "7",
        "steps": "3",
        "guidance": "6.5",
        "size": "32x32",
        "Software": "ModelPilot",
    }


def test_a_broken_model_gives_no_picture(start_tiny: Start) -> None:
    engine = start_tiny("zimage")
    with torch.no_grad():
        pipeline(engine).vae.decoder.conv_out.bias.fill_(float("nan"))
    with steps_of(engine) as made, pytest.raises(InferenceError, match="can be seen"):
        draw(engine)
    # Three steps, and three of another try.
    assert len(made) == 6
    with torch.no_grad():
        pipeline(engine).vae.decoder.conv_out.bias.fill_(-1e9)
    with pytest.raises(InferenceError, match="can be seen"):
        draw(engine)


def test_a_picture_that_broke_once_is_drawn_again(start_tiny: Start) -> None:
    engine = start_tiny("zimage", slots=8)
    right = opened(draw(engine, seed=2))
    broken: list[bool] = []

    def spoil(module: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor | None:
        if broken or len(output) < 2:
            return None
        broken.append(True)
        return torch.cat([output[:1] * float("nan"), output[1:]])

    pipeline(engine).vae.decoder.register_forward_hook(spoil)
    result = draw(engine, seed=1, n=2)
    assert [image["seed"] for image in result.data["images"]] == [1 ^ 0x5EED, 2]
    assert result.warnings == [f"Picture 1 showed nothing; it was drawn again, from {1 ^ 0x5EED}."]
    assert_same(opened(result, 1), right)
    # Who leaves while theirs is drawn again takes nothing from the others of the batch.
    with ThreadPoolExecutor(3) as pool, busy(engine, pool):
        leaving = pool.submit(engine.generate, asking(seed=1), Steps(last=5))
        staying = pool.submit(engine.generate, asking(seed=2), ignore)
        broken.clear()
        with pytest.raises(Cancelled):
            leaving.result(60)
        assert_same(opened(staying.result(60)), right)


def test_one_that_fails_does_not_fail_its_batch(start_tiny: Start) -> None:
    engine = start_tiny("zimage", slots=8)
    alone = opened(draw(engine, seed=2))
    tokenizer = pipeline(engine).tokenizer
    usual = tokenizer.apply_chat_template

    def template(messages: list[dict[str, str]], **more: Any) -> Any:
        if messages[0]["content"] == "unspeakable":
            raise ValueError("no such word")
        return usual(messages, **more)

    tokenizer.apply_chat_template = template
    with ThreadPoolExecutor(3) as pool, busy(engine, pool):
        wrong = pool.submit(draw, engine, prompt="unspeakable")
        right = pool.submit(draw, engine, seed=2)
        with pytest.raises(InferenceError, match="no such word"):
            wrong.result(60)
        assert_same(opened(right.result(60)), alone)


def test_too_little_memory_makes_smaller_batches(start_tiny: Start) -> None:
    engine = start_tiny("flux-schnell", slots=8)
    sizes: list[int] = []

    def fill(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        sizes.append(len(named["hidden_states"]))
        if len(named["hidden_states"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    pipeline(engine).transformer.register_forward_pre_hook(fill, with_kwargs=True)
    assert len(draw(engine, n=4, steps=1).files) == 4
    assert len(draw(engine, n=4, steps=1).files) == 4
    assert sizes == [4, 1, 1, 1, 1, 2, 2]


def test_a_closed_engine_says_so(start_tiny: Start) -> None:
    engine = start_tiny("zimage")
    steps = Steps()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(engine.generate, asking(steps=1000), steps)
        assert steps.first_step.wait(60)
        waiting = pool.submit(engine.generate, asking(), ignore)
        engine.close()
        for job in (running, waiting):
            with pytest.raises(InferenceError, match="stopped"):
                job.result(60)
    with pytest.raises(InferenceError, match="stopped"):
        draw(engine)


def pipeline(engine: Engine) -> Any:
    """The diffusers pipeline inside."""
    return engine._model.pipe  # type: ignore[attr-defined]


@contextmanager
def steps_of(engine: Engine) -> Iterator[list[int]]:
    """Notes each run of the engine's network."""
    pipe = pipeline(engine)
    runs: list[int] = []
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    hook = network.register_forward_pre_hook(lambda module, arguments: runs.append(1))
    yield runs
    hook.remove()


@contextmanager
def busy(engine: Engine, pool: ThreadPoolExecutor) -> Iterator[None]:
    """Keep the engine at work until others wait, so that these make a batch."""
    steps = Steps()
    running = pool.submit(engine.generate, asking(steps=12, seed=99), steps)
    assert steps.first_step.wait(60)
    yield
    running.result(60)


def wait_until_idle(engine: Engine) -> None:
    """Whatever was running has ended when another picture is there."""
    draw(engine, steps=1)
