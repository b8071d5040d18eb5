"""Films over both routes: made, polled, downloaded; and what is refused."""

import base64
import io
from typing import Any

import av
import pytest
import requests

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.api.test_audio import polled
from tests.api.test_images import png

# OpenAI ends its own service for films; its client still says how to talk to one.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

FILM = {"model": "tiny-wan", "prompt": "a sunset over the ocean, cinematic, 4k"}


def frames(content: bytes) -> tuple[str, int, tuple[int, int]]:
    """Codec, number of frames and size of an MP4, decoded in full."""
    with av.open(io.BytesIO(content), "r") as film:
        stream = film.streams.video[0]
        count = len(list(film.decode(stream)))
        return stream.codec_context.name, count, (stream.width, stream.height)


def test_a_film_as_the_original_has_it(alice: Caller) -> None:
    response = alice.post("generate/video", FILM)
    assert response.status_code == 202
    accepted = response.json()
    assert accepted["id"].startswith("vid_")
    assert accepted["job_id"].startswith("run-")
    assert accepted["id"][4:] == accepted["job_id"][4:]
    assert accepted["status"] == "processing"
    assert accepted["cost"] == 0.005
    assert accepted["estimated_time_ms"] > 0
    assert accepted["poll_url"] == (
        f"/api/v1/generate/video/status/{accepted['job_id']}"
        f"?endpoint_id={accepted['endpoint_id']}&model=tiny-wan"
    )
    pending, done = polled(alice, accepted["poll_url"])
    assert {poll["status"] for poll in pending} <= {"IN_QUEUE", "IN_PROGRESS"}
    assert {poll["state"] for poll in pending} <= {"queued", "running"}
    assert (done["status"], done["state"]) == ("COMPLETED", "succeeded")
    assert done["execution_time_ms"] > 0
    (video,) = done["videos"]
    answer = requests.get(video["url"], timeout=10)
    assert answer.headers["Content-Type"] == "video/mp4"
    assert frames(answer.content) == ("h264", 9, (32, 32))
    # Playable before it has been loaded in full.
    assert answer.content.index(b"moov") < answer.content.index(b"mdat")
    assert requests.get(video["poster_url"], timeout=10).content[:3] == b"\xff\xd8\xff"
    assert alice.get(f"generate/video/status/{accepted['id']}").json()["status"] == "COMPLETED"


def test_openais_client_from_create_to_download(newcomer: NewCaller) -> None:
    caller = newcomer()
    with caller.openai("/v1") as client:
        video = client.videos.create_and_poll(
            model="tiny-wan",
            prompt="a fox",
            # OpenAI names its own sizes only.
            extra_body={"size": "48x32", "num_frames": 5, "fps": 8},
        )
        assert (video.status, video.progress, video.error) == ("completed", 100, None)
        assert (video.size, video.seconds) == ("48x32", "0.625")
        content = client.videos.download_content(video.id).read()
        assert frames(content) == ("h264", 5, (48, 32))
        poster = client.videos.download_content(video.id, variant="thumbnail").read()
        assert poster[:3] == b"\xff\xd8\xff"
        assert [film.id for film in client.videos.list()] == [video.id]
        assert client.videos.delete(video.id).deleted
    assert caller.available() == pytest.approx(1 - 0.005)
    error_of(caller.get(f"/v1/videos/{video.id}/content"), 404, "output_not_found")


def test_json_does_too_and_seconds_are_frames(alice: Caller) -> None:
    body = {"model": "tiny-wan", "prompt": "a fox", "seconds": "1", "fps": 9}
    job = alice.post("/v1/videos", body).json()
    assert (job["object"], job["status"]) == ("video", "queued")
    alice.ended(job["id"])
    assert alice.get(f"/v1/videos/{job['id']}").json()["seconds"] == "1"
    error = error_of(alice.post("/v1/videos", {**body, "seconds": 100}), 422, "invalid_value")
    assert error["param"] == "seconds"


def test_a_cancelled_film_says_so_and_is_free(newcomer: NewCaller) -> None:
    caller = newcomer()
    body = {**FILM, "steps": 500, "width": 128, "height": 128}
    job = caller.post("generate/video", body).json()
    caller.running(job["job_id"])
    early = caller.get(f"/v1/videos/{job['id']}/content")
    error_of(early, 409, "job_not_finished")
    caller.post(f"jobs/{job['id']}/cancel")
    caller.ended(job["id"])
    done = caller.get(job["poll_url"]).json()
    assert (done["status"], done["state"], done["cost"]) == ("CANCELLED", "cancelled", 0)
    assert caller.available() == 1
    with caller.openai() as client:
        failed = client.videos.retrieve(job["id"])
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.code == "cancelled"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"num_frames": 10_000}, "num_frames"),
        ({"fps": 0}, "fps"),
        ({"width": 10**9}, "width"),
        ({"prompt": ""}, "prompt"),
        ({"image": base64.b64encode(png()).decode()}, "image"),
    ],
)
def test_bad_input_is_named_and_costs_nothing(
    newcomer: NewCaller, changes: dict[str, Any], param: str
) -> None:
    caller = newcomer()
    response = caller.post("generate/video", {**FILM, **changes}, headers={"Prefer": "wait=30"})
    assert response.status_code in (400, 422)
    assert response.json()["error"]["param"] == param
    assert caller.available() == 1


def test_a_picture_model_makes_no_film(alice: Caller) -> None:
    body = {**FILM, "model": "tiny-sdxl"}
    error_of(alice.post("generate/video", body), 400, "invalid_model_type")
