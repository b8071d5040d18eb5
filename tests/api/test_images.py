"""Pictures over both routes: shapes, formats, seeds, what is charged and what is refused."""

import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openai
import pytest
import requests
from PIL import Image

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.api.test_audio import polled

DRAW = {"model": "tiny-sdxl", "prompt": "a red apple on a white table"}


def opened(encoded: str) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
    picture.load()
    return picture


def png(width: int = 64, height: int = 64, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (width, height), "teal").save(stream, "PNG")
    return stream.getvalue()


def test_a_picture_as_the_original_has_it(alice: Caller) -> None:
    response = alice.post("generate/image", {**DRAW, "width": 96, "height": 64})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["id"].startswith("gen_")
    assert answer["model"] == "tiny-sdxl"
    assert answer["cost"] == 0.002
    assert answer["execution_time_ms"] > 0
    assert answer["warnings"] == []
    (image,) = answer["images"]
    assert image["filename"] == "output_00001_.png"
    picture = opened(image["base64"])
    assert (picture.format, picture.size) == ("PNG", (96, 64))
    assert DRAW["prompt"] in str(picture.info)
    linked = requests.get(image["url"], timeout=10)
    assert linked.content == base64.b64decode(image["base64"])
    assert linked.headers["Content-Type"] == "image/png"


def test_the_same_seed_gives_the_same_bytes_and_so_does_a_replay(alice: Caller) -> None:
    first, second, other = (
        alice.post("generate/image", {**DRAW, "seed": seed}).json() for seed in (7, 7, 8)
    )
    assert first["images"][0]["base64"] == second["images"][0]["base64"]
    assert first["images"][0]["base64"] != other["images"][0]["base64"]
    assert first["images"][0]["seed"] == 7
    # Of one that was drawn from a seed of chance.
    chance = alice.post("generate/image", DRAW).json()
    again = alice.post(f"jobs/{chance['id']}/replay").json()
    alice.ended(again["id"])
    replayed = alice.get(f"generate/image/status/{again['id']}").json()
    assert replayed["images"][0]["base64"] == chance["images"][0]["base64"]


def test_several_pictures_are_several_prices(newcomer: NewCaller) -> None:
    caller = newcomer()
    answer = caller.post("generate/image", {**DRAW, "n": 3, "seed": 5}).json()
    assert answer["cost"] == 0.006
    assert [image["seed"] for image in answer["images"]] == [5, 6, 7]
    assert len({image["base64"] for image in answer["images"]}) == 3
    alone = caller.post("generate/image", {**DRAW, "seed": 6}).json()
    assert alone["images"][0]["base64"] == answer["images"][1]["base64"]
    assert caller.available() == pytest.approx(1 - 0.008)


def test_who_does_not_wait_polls(alice: Caller) -> None:
    body = {**DRAW, "response_format": "url", "steps": 20}
    response = alice.post("generate/image", body, headers={"Prefer": "wait=0"})
    accepted = response.json()
    assert response.status_code == 202
    assert accepted["id"] == accepted["job_id"]
    assert accepted["id"].startswith("sync-")
    assert accepted["poll_url"].startswith(f"/api/v1/generate/image/status/{accepted['id']}?")
    pending, done = polled(alice, accepted["poll_url"])
    assert all(poll["status"] == "processing" for poll in pending)
    progress = [poll["progress"] for poll in pending]
    assert progress == sorted(progress)
    assert (done["status"], done["state"]) == ("completed", "succeeded")
    (image,) = done["images"]
    assert "base64" not in image
    assert Image.open(io.BytesIO(requests.get(image["url"], timeout=10).content)).size == (64, 64)
    # The query is for the reader only; without it there is base64 too.
    assert alice.get(accepted["poll_url"].partition("?")[0]).json()["images"][0]["base64"]


def test_events_tell_progress_and_show_previews(alice: Caller) -> None:
    job = alice.post(
        "generate/image", {**DRAW, "steps": 20}, headers={"Prefer": "respond-async"}
    ).json()
    told = alice.get(f"jobs/{job['id']}/events").text.split("\n\n")
    names = [
        line.removeprefix("event: ")
        for event in told
        for line in event.split("\n")
        if line.startswith("event: ")
    ]
    assert "progress" in names
    assert names[-1] == "end"


@pytest.mark.parametrize(("asked", "written"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_other_formats(alice: Caller, asked: str, written: str) -> None:
    answer = alice.post("generate/image", {**DRAW, "output_format": asked}).json()
    assert opened(answer["images"][0]["base64"]).format == written


def test_a_picture_to_begin_with(alice: Caller) -> None:
    given = base64.b64encode(png()).decode()
    body = {**DRAW, "image": f"data:image/png;base64,{given}", "strength": 0.5, "seed": 1}
    answer = alice.post("generate/image", body).json()
    assert opened(answer["images"][0]["base64"]).size == (64, 64)
    job = alice.job(answer["id"])
    assert job["request"]["strength"] == 0.5
    assert "characters of base64" in job["request"]["image"]
    without = alice.post("generate/image", {**DRAW, "seed": 1}).json()
    assert without["images"][0]["base64"] != answer["images"][0]["base64"]


def test_what_the_model_lacks_is_said_and_not_refused(alice: Caller) -> None:
    body = {"model": "tiny-flux", "prompt": "a fox", "negative_prompt": "rain"}
    answer = alice.post("generate/image", body).json()
    assert any("negative" in warning for warning in answer["warnings"])


def test_cancelled_halfway_costs_nothing_and_the_pod_goes_on(newcomer: NewCaller) -> None:
    caller = newcomer()
    body = {**DRAW, "width": 128, "height": 128, "steps": 1000}
    job = caller.post("generate/image", body, headers={"Prefer": "wait=0"}).json()
    caller.running(job["id"])
    time.sleep(0.5)
    asked = time.monotonic()
    caller.post(f"jobs/{job['id']}/cancel")
    ended = caller.ended(job["id"])
    assert time.monotonic() - asked < 3
    assert (ended["state"], ended["cost"]) == ("cancelled", 0)
    assert caller.get(job["poll_url"]).json()["cost"] == 0
    assert caller.available() == 1
    assert caller.post("generate/image", DRAW).status_code == 200


def test_eight_at_once_are_the_same_pictures_as_alone(alice: Caller) -> None:
    bodies = [{**DRAW, "prompt": f"picture {number}", "seed": number} for number in range(8)]

    def drawn(body: dict[str, Any]) -> "np.ndarray[Any, np.dtype[np.int16]]":
        answer = alice.post("generate/image", body).json()
        return np.asarray(opened(answer["images"][0]["base64"])).astype(np.int16)

    alone = [drawn(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(drawn, bodies))
    for one, other in zip(alone, together, strict=True):
        # Sums of floats come in another order in a batch: now and then a value that lay
        # between two shades is rounded to the other one.
        difference = np.abs(one - other)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.001


# OpenAI's client


def test_openais_client_draws(alice: Caller) -> None:
    with alice.openai("/v1") as client:
        answer = client.images.generate(model="tiny-sdxl", prompt="a fox", n=2, size="96x64")
        assert answer.data is not None
        assert len(answer.data) == 2
        for image in answer.data:
            assert image.b64_json is not None
            assert image.url is not None
            assert opened(image.b64_json).size == (96, 64)
        url_only = client.images.generate(
            model="tiny-sdxl", prompt="a fox", response_format="url", size="auto"
        )
        assert url_only.data is not None
        assert url_only.data[0].b64_json is None
        assert requests.get(url_only.data[0].url or "", timeout=10).content[:4] == b"\x89PNG"


def test_openais_client_edits(newcomer: NewCaller) -> None:
    caller = newcomer()
    with caller.openai() as client:
        answer = client.images.edit(
            model="tiny-sdxl",
            image=("apple.png", png(), "image/png"),
            mask=("mask.png", png(mode="RGBA"), "image/png"),
            prompt="a green apple",
            response_format="b64_json",
            extra_body={"seed": 3, "strength": 0.6},
        )
        assert answer.data is not None
        assert opened(answer.data[0].b64_json or "").size == (64, 64)
    assert caller.newest_job()["request"]["seed"] == 3
    assert caller.available() == pytest.approx(1 - 0.002)


def test_a_form_sent_again_is_the_same_request(newcomer: NewCaller) -> None:
    caller = newcomer()

    def send(prompt: str) -> requests.Response:
        return caller.send(
            "POST",
            "images/edits",
            headers={"Idempotency-Key": "one"},
            data={"model": "tiny-sdxl", "prompt": prompt},
            files={"image": ("apple.png", png(), "image/png")},
        )

    first, second = send("a pear"), send("a pear")
    assert second.headers["Idempotent-Replayed"] == "true"
    assert [d["b64_json"] for d in first.json()["data"]] == [
        d["b64_json"] for d in second.json()["data"]
    ]
    error_of(send("a plum"), 422, "idempotency_key_reused")
    assert caller.available() == pytest.approx(1 - 0.002)


def test_a_stored_picture_survives_its_process_and_can_be_deleted(alice: Caller) -> None:
    answer = alice.post("generate/image", DRAW).json()
    url = answer["images"][0]["url"]
    assert alice.send("DELETE", f"jobs/{answer['id']}").status_code == 204
    assert requests.get(url, timeout=10).status_code == 404
    assert alice.job(answer["id"])["outputs"] == []


# What is refused, each with its reason, and for nothing


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"width": 10**9}, 422, "invalid_value", "width"),
        ({"height": 8}, 422, "invalid_value", "height"),
        ({"steps": 100_000}, 422, "invalid_value", "steps"),
        ({"seed": -1}, 422, "invalid_value", "seed"),
        ({"n": 5}, 422, "invalid_value", "n"),
        ({"guidance": 99}, 422, "invalid_value", "guidance"),
        ({"prompt": "x" * 10_001}, 422, "invalid_value", "prompt"),
        ({"prompt": "  "}, 422, "invalid_value", "prompt"),
        ({"image": "bm90IGEgcGljdHVyZQ=="}, 422, "invalid_value", "image"),
        ({"image": "%%%"}, 422, "invalid_value", "image"),
        ({"strength": 0.5}, 422, "invalid_value", None),
        ({"promt": "a typo"}, 422, "unknown_parameter", "promt"),
        ({"model": "echo"}, 400, "invalid_model_type", "model"),
        ({"model": "no-such"}, 404, "model_not_found", "model"),
    ],
)
def test_bad_input_is_named_and_costs_nothing(
    newcomer: NewCaller, changes: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    caller = newcomer()
    error = error_of(caller.post("generate/image", {**DRAW, **changes}), status, code)
    assert error["param"] == param
    assert caller.available() == 1
    assert caller.get("jobs").json()["data"] == []


def test_not_a_number_is_refused(alice: Caller) -> None:
    body = b'{"model": "tiny-sdxl", "prompt": "x", "guidance": NaN}'
    response = alice.send(
        "POST", "generate/image", data=body, headers={"Content-Type": "application/json"}
    )
    error_of(response, 400, "invalid_json")


def test_eleven_megabytes_are_refused(alice: Caller) -> None:
    body = {**DRAW, "image": base64.b64encode(bytes(8_300_000)).decode()}
    error_of(alice.post("generate/image", body), 413, "request_too_large")


def test_a_bomb_is_refused_by_its_header(alice: Caller) -> None:
    body = {**DRAW, "image": base64.b64encode(png(5000, 5000, "L")).decode()}
    error = error_of(alice.post("generate/image", body), 422, "invalid_value")
    assert "megapixels" in error["message"]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"size": "huge"}, "size"),
        ({"size": "1024x9999"}, "height"),
        ({"n": 9}, "n"),
    ],
)
def test_openais_client_is_told_too(alice: Caller, options: dict[str, Any], param: str) -> None:
    with alice.openai() as client, pytest.raises(openai.UnprocessableEntityError) as caught:
        client.images.generate(model="tiny-sdxl", prompt="a fox", **options)
    assert caught.value.param == param


def test_what_openai_has_and_we_lack_is_refused(alice: Caller) -> None:
    body = {"model": "tiny-sdxl", "prompt": "a fox", "background": "transparent"}
    error = error_of(alice.post("images/generations", body), 400, "unsupported_parameter")
    assert error["param"] == "background"
    usual = {"quality": "standard", "style": "vivid", "background": "auto"}
    assert alice.post("images/generations", {**body, **usual}).status_code == 200


def test_two_pictures_to_edit_are_one_too_many(alice: Caller) -> None:
    files = [("image[]", ("a.png", png(), "image/png")), ("image[]", ("b.png", png(), "image/png"))]
    data = {"model": "tiny-sdxl", "prompt": "both"}
    response = alice.send("POST", "images/edits", data=data, files=files)
    assert error_of(response, 400, "unsupported_parameter")["param"] == "image"
