"""What a key may do: read, proxy, generate."""

import base64

import pytest

from inference.sound import audio
from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller
from tests.system import System

SPEECH = {"model": "piper-joe", "text": "Hello."}
OPENAI_SPEECH = {"model": "piper-joe", "input": "Hello.", "voice": "alloy"}
SILENCE = base64.b64encode(audio.encode(bytes(3200), 16_000, "wav")).decode()
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}

READ = ("jobs", "balance", "usage", "key", "budgets")
ANY = ("pricing", "quote")
OPENAI = ("chat", "completion", "speech", "embedding", "transcription")
# Which of the routes each key may use.
MAY = {
    "read": {"models", *READ, *ANY, "job"},
    "proxy": {"models", *ANY},
    "generate": {"generate", *ANY},
    "read,proxy": {"models", *READ, *ANY, *OPENAI, "job"},
    "read,generate": {"models", *READ, *ANY, "generate", "job"},
    "proxy,generate": {"models", *ANY, "generate"},
}
POSTS = {
    "chat": ("chat/completions", CHAT),
    "completion": ("completions", {"model": "echo", "prompt": "hello"}),
    "speech": ("audio/speech", OPENAI_SPEECH),
    "embedding": ("embeddings", {"model": "all-minilm-l6-v2", "input": "hello"}),
    "transcription": ("audio/transcriptions", {"model": "pocketsphinx", "file": SILENCE}),
    "generate": ("generate/audio", SPEECH),
    "quote": ("quote", {"route": "chat/completions", "body": CHAT}),
}


@pytest.mark.parametrize("permissions", MAY)
def test_a_key_may_do_what_it_says(system: System, permissions: str) -> None:
    # All of one account, so only the keys differ.
    key = system.account("erin@example.com", "1", permissions=permissions)
    erin = Caller(system.base_url, key)
    allowed = set()
    for path in ("models", "pricing", *READ):
        response = erin.get(path)
        allowed |= {path} if response.status_code == 200 else set()
        if response.status_code != 200:
            error_of(response, 403, "permission_denied")
    for name, (path, body) in POSTS.items():
        response = erin.post(path, body)
        allowed |= {name} if response.status_code == 200 else set()
        if response.status_code != 200:
            error = error_of(response, 403, "permission_denied")
            assert error["type"] == "permission_error"
            needed = {"generate"} if name == "generate" else {"read", "proxy"}
            for permission in needed:
                missing = permission not in permissions.split(",")
                assert (f"'{permission}'" in error["message"]) == missing
    assert allowed == MAY[permissions] - {"job"}


def test_a_job_is_seen_by_who_may_read_or_may_have_made_it(system: System) -> None:
    keys = {
        permissions: Caller(
            system.base_url, system.account("frank@example.com", "1", permissions=permissions)
        )
        for permissions in ("read", "proxy", "generate", "read,proxy")
    }
    headers = {"Prefer": "wait=0"}
    speech = keys["generate"].post("generate/audio", SPEECH, headers=headers).json()
    assert keys["generate"].get(speech["poll_url"]).status_code in (200, 202)
    assert keys["read"].get(speech["poll_url"]).status_code in (200, 202)
    error_of(keys["proxy"].get(speech["poll_url"]), 403, "permission_denied")
    chat = keys["read,proxy"].chat("hello").json()["id"]
    for permissions, status in (("read", 200), ("proxy", 200), ("generate", 403)):
        assert keys[permissions].get(f"jobs/{chat}").status_code == status
        assert keys[permissions].post(f"jobs/{chat}/cancel").status_code == status


def test_an_unknown_permission_can_not_be_given(newcomer: NewCaller) -> None:
    with pytest.raises(AssertionError, match="--permissions takes"):
        newcomer(permissions="everything")
