"""What all answers are made of.

These models describe what routes send, in OpenAPI; nothing is made from them. The tests hold
them against the real answers, so none has a field too many or too few.
"""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorDetail(BaseModel):
    """`code` is for programs, `message` says what to do next; some errors say more beside."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    param: str | None
    code: str


class Error(BaseModel):
    """The one envelope of every error."""

    model_config = ConfigDict(extra="allow")

    error: ErrorDetail


class ListOf(Shape, Generic[T]):
    object: Literal["list"]
    data: list[T]


class PageOf(ListOf[T], Generic[T]):
    has_more: bool


class Price(Shape):
    """USD: for a request by itself, and by all its parts (tokens by the million)."""

    unit: Literal["request"]
    price: float
    parts: dict[str, Any]
