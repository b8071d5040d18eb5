"""An operator stops a model and starts it again."""

from collections.abc import Iterator

import pytest

from tests.api.caller import Caller, error_of
from tests.api.conftest import NewCaller

MODEL = "echo-tagged:1b"


@pytest.fixture
def stopped(bob: Caller, deployments: dict[str, str]) -> Iterator[str]:
    deployment = deployments[MODEL]
    assert bob.post(f"deployments/{deployment}/stop").json()["status"] == "stopped"
    yield deployment
    bob.post(f"deployments/{deployment}/start")


def test_a_stopped_model_is_503_and_not_worth_a_retry(alice: Caller, stopped: str) -> None:
    response = alice.chat("hello", MODEL)
    error = error_of(response, 503, "model_not_available")
    assert error["message"] == f"Model '{MODEL}' deployment is not running (status: stopped)"
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert response.headers["x-should-retry"] == "false"


def test_503_comes_before_402(newcomer: NewCaller, stopped: str) -> None:
    error_of(newcomer("0").chat("hello", MODEL), 503, "model_not_available")


def test_its_health_says_so(alice: Caller, stopped: str) -> None:
    health = alice.get(f"/api/deployments/{stopped}/health")
    assert (health.status_code, health.json()["status"]) == (200, "stopped")
    strict = alice.get(f"/api/deployments/{stopped}/health?strict=1")
    assert (strict.status_code, strict.json()["status"]) == (503, "stopped")


def test_it_is_served_again_once_started(alice: Caller, bob: Caller, stopped: str) -> None:
    assert bob.post(f"deployments/{stopped}/start").json()["status"] == "running"
    assert alice.chat("hello", MODEL).status_code == 200


def test_running_jobs_finish_and_waiting_ones_fail_free(
    newcomer: NewCaller, bob: Caller, deployments: dict[str, str]
) -> None:
    dora = newcomer()
    later = {"Prefer": "respond-async"}
    running = dora.chat("a b", "echo-one", max_tokens=40, headers=later).json()["id"]
    dora.running(running)
    waiting = dora.chat("a b", "echo-one", max_tokens=40, headers=later).json()["id"]
    bob.post(f"deployments/{deployments['echo-one']}/stop")
    try:
        assert dora.ended(waiting)["error"]["code"] == "model_not_available"
        assert dora.ended(running)["state"] == "succeeded"
        assert dora.available() == 1 - 0.001
    finally:
        bob.post(f"deployments/{deployments['echo-one']}/start")


def test_only_deployers_deploy(alice: Caller, deployments: dict[str, str]) -> None:
    for verb in ("start", "stop"):
        path = f"deployments/{deployments[MODEL]}/{verb}"
        error_of(alice.post(path), 403, "permission_denied")
    error_of(alice.post("deployments", {"model": "echo"}), 403, "permission_denied")


def test_what_can_not_be_had_is_422_and_says_where_it_looked(bob: Caller) -> None:
    error = error_of(bob.post("deployments", {"model": "qwen3-8b"}), 422, "model_not_deployable")
    assert "Qwen3-8B-Q4_K_M.gguf" in error["message"]
    assert error["param"] == "model"


def test_deploying_what_is_deployed_is_no_error(bob: Caller, deployments: dict[str, str]) -> None:
    response = bob.post("deployments", {"model": "echo"})
    assert response.status_code in (200, 201)
    assert response.json()["id"] == deployments["echo"]


def test_an_unknown_deployment_is_404(bob: Caller) -> None:
    for path in ("deployments/nothing/stop", "deployments/nothing/start"):
        error_of(bob.post(path), 404, "deployment_not_found")
    error_of(bob.get("/api/deployments/nothing/health"), 404, "deployment_not_found")
