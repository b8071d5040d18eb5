"""Everything that inference raises on purpose; the class's sentence is the default message."""


class InferenceError(Exception):
    """The model could not answer this request."""

    code = "generation_failed"
    # Whether the same request may succeed on another try (another pod, later).
    retryable = False

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)
        self.message = str(self)
        self.param = param


class Cancelled(InferenceError):
    """The job was cancelled."""

    code = "cancelled"


class InvalidRequest(InferenceError):
    """The request asks for something that this model cannot do."""

    code = "invalid_value"


class ContextLengthExceeded(InvalidRequest):
    """The prompt is longer than the model's context."""

    code = "context_length_exceeded"


class WeightsNotFound(InferenceError):
    """The model's weights are not on this machine and could not be fetched."""

    code = "weights_not_found"

    def __init__(self, message: str, *, looked: list[str]) -> None:
        super().__init__(message)
        self.looked = looked


class WeightsRefused(InferenceError):
    """The model's weights failed a check and were not loaded."""

    code = "weights_refused"


class EngineUnavailable(InferenceError):
    """The engine that this model needs is not installed here."""

    code = "engine_unavailable"


class EngineLost(InferenceError):
    """The engine has lost a part of itself: whatever runs it must start anew."""

    code = "engine_lost"
    retryable = True


class CatalogError(InferenceError):
    """The catalog has a mistake in it."""

    code = "catalog_invalid"
