"""A client of the running product: one key, plain HTTP."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import openai
import requests

from tests.api import described

TIMEOUT_S = 90


@dataclass(frozen=True)
class Caller:
    base_url: str
    key: str

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request with the key; `path` starts at the root, or is short for /api/v1/path."""
        url = self.base_url + (path if path.startswith("/") else f"/api/v1/{path}")
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        response = requests.request(method, url, headers=headers, timeout=TIMEOUT_S, **options)
        described.check(response)
        return response

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.send("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.send("POST", path, json=body, **options)

    def chat(self, words: str, model: str = "echo", **options: Any) -> requests.Response:
        """`headers` go on the request, everything else into its body."""
        headers = options.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": words}], **options}
        return self.post("chat/completions", body, headers=headers)

    @contextmanager
    def stream(self, words: str, model: str = "echo", **options: Any) -> Iterator["Lines"]:
        """The lines of a streamed chat; leaving hangs up."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        body = {"model": model, "messages": [{"role": "user", "content": words}], **options}
        with requests.post(
            f"{self.base_url}/api/v1/chat/completions",
            headers=headers,
            json={**body, "stream": True},
            stream=True,
            timeout=TIMEOUT_S,
        ) as response:
            yield Lines(response)

    @contextmanager
    def openai(self, prefix: str = "/api/v1") -> Iterator[openai.OpenAI]:
        with openai.OpenAI(
            api_key=self.key, base_url=self.base_url + prefix, max_retries=0, timeout=TIMEOUT_S
        ) as client:
            yield client

    def available(self) -> float:
        """What the account can spend, in USD."""
        available: float = self.get("balance").json()["available"]
        return available

    def held(self) -> float:
        held: float = self.get("balance").json()["held"]
        return held

    def job(self, job_id: str) -> dict[str, Any]:
        body: dict[str, Any] = self.get(f"jobs/{job_id}").json()
        return body

    def newest_job(self) -> dict[str, Any]:
        body: dict[str, Any] = self.get("jobs", params={"limit": 1}).json()["data"][0]
        return body

    def ended(self, job_id: str, within_s: float = 30) -> dict[str, Any]:
        """The job, once it has ended."""
        deadline = time.monotonic() + within_s
        while (job := self.job(job_id))["state"] in ("queued", "running"):
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {job}"
            time.sleep(0.05)
        return job

    def running(self, job_id: str, within_s: float = 30) -> None:
        """Returns once the job has been started."""
        deadline = time.monotonic() + within_s
        while (job := self.job(job_id))["state"] == "queued":
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {job}"
            time.sleep(0.05)


class Lines:
    """A streamed answer, line by line."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response
        # Small reads: a line must be seen when it comes, not when a buffer is full.
        self.lines = response.iter_lines(chunk_size=1, decode_unicode=True)

    def __iter__(self) -> Iterator[str]:
        return (line for line in self.lines if line)

    def data(self) -> Iterator[str]:
        return (line.removeprefix("data: ") for line in self if line.startswith("data: "))

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The chunks up to [DONE], which must be the last line."""
        data = self.data()
        for text in data:
            if text == "[DONE]":
                assert list(data) == []
                return
            yield json.loads(text)

    def text(self) -> str:
        return "".join(map(content, self.chunks()))


def content(chunk: dict[str, Any]) -> str:
    """What a chunk adds to the first answer."""
    return "".join(
        choice["delta"].get("content") or ""
        for choice in chunk.get("choices", ())
        if choice["index"] == 0
    )


def error_of(response: requests.Response, status: int, code: str) -> dict[str, Any]:
    """The error of a refused request, which must be in the envelope."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["x-request-id"]
    error: dict[str, Any] = response.json()["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    assert error["code"] == code, error
    assert isinstance(error["message"], str)
    assert error["message"]
    return error
