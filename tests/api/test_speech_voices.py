"""GET /voices: who can speak, and who of them is on this machine."""

from tests.api.caller import Caller, error_of


def test_the_voices_of_all_deployed_models(alice: Caller) -> None:
    body = alice.get("voices").json()
    assert body["object"] == "list"
    by_model: dict[str, dict[str, dict[str, object]]] = {}
    for voice in body["data"]:
        by_model.setdefault(voice["model"], {})[voice["id"]] = voice
    assert by_model.keys() == {"kokoro", "piper-joe"}
    assert len(by_model["kokoro"]) == 54
    assert by_model["kokoro"]["af_alloy"] == {
        "id": "af_alloy",
        "model": "kokoro",
        "language": "en-US",
        "gender": "female",
        "installed": False,
        "aliases": ["alloy"],
    }
    assert by_model["kokoro"]["jf_alpha"]["installed"] is True
    joe = by_model["piper-joe"]["joe"]
    assert (joe["installed"], joe["language"], joe["gender"]) == (True, "en-US", "male")


def test_the_voices_of_one_model(alice: Caller) -> None:
    data = alice.get("voices", params={"model": "piper-joe"}).json()["data"]
    assert [voice["id"] for voice in data] == ["joe"]


def test_a_model_that_does_not_speak(alice: Caller) -> None:
    get = {"params": {"model": "echo"}}
    error_of(alice.get("voices", **get), 400, "invalid_model_type")
    error_of(alice.get("voices", params={"model": "chatterbox"}), 404, "model_not_found")


def test_a_mix_speaks_over_both_routes(alice: Caller) -> None:
    mix = "jf_alpha(2)+jm_kumo(1)"
    native = alice.post("generate/audio", {"model": "kokoro", "text": "Hello.", "voice": mix})
    assert native.status_code == 200, native.text
    sounds = {native.json()["audio"]}
    for voice in ("jf_alpha", "jm_kumo"):
        body = {"model": "kokoro", "text": "Hello.", "voice": voice}
        sounds.add(alice.post("generate/audio", body).json()["audio"])
    assert len(sounds) == 3
    body = {"model": "kokoro", "input": "Hello.", "voice": mix, "response_format": "wav"}
    assert alice.post("audio/speech", body).content[:4] == b"RIFF"


def test_piper_does_not_mix(alice: Caller) -> None:
    body = {"model": "piper-joe", "text": "Hello.", "voice": "joe+joe"}
    error = error_of(alice.post("generate/audio", body), 422, "invalid_value")
    assert error["param"] == "voice"
    assert "can't mix" in error["message"]


def test_nobody_is_cloned_unless_the_operator_allows_it(alice: Caller) -> None:
    body = {"model": "kokoro", "text": "Hello.", "audio_prompt": "UklGRg=="}
    error = error_of(alice.post("generate/audio", body), 422, "invalid_value")
    assert error["param"] == "audio_prompt"
