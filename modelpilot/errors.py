"""The one error that carries an HTTP answer; raised anywhere, translated once in `api`."""

from typing import Any


class ApiError(Exception):
    """An answer in the envelope `{"error": {"message", "type", "param", "code"}}`.

    `message` is a sentence that says what to do next. `detail` adds fields inside
    `error`, `beside` adds fields next to it, `headers` go on the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        type: str = "invalid_request_error",  # noqa: A002 - the envelope's word
        detail: dict[str, Any] | None = None,
        beside: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.type = type
        self.detail = detail or {}
        self.beside = beside or {}
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
            **self.detail,
        }
        return {"error": error, **self.beside}
